"""A replica: our ASGI application and the engines of one model, in a process of Ray Serve.

It answers HTTP on a listener of its own, at a port that the kernel chooses. Fronts announce each request
through Ray Serve (`hold`), and then send it there: no byte of a request or a reply passes through an actor of
Ray.
"""

import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from starlette.types import ASGIApp

from tessera import __version__
from tessera.cluster.holds import Holds
from tessera.cluster.library import Foreign, ray, serve
from tessera.cluster.plan import replica_settings
from tessera.cluster.relayed import Relaying, relay_key
from tessera.cluster.requirements import require_stores
from tessera.cluster.routing import CLASS as ROUTER
from tessera.engine.host.private import PrivateEngine
from tessera.errors import EngineUnavailable, StartupError
from tessera.http.admin.requests import OwnRequests, Shown
from tessera.http.service import Service
from tessera.observe.exposition import exposition
from tessera.observe.logs import configure
from tessera.server.admin import serving_admin
from tessera.server.api import UVICORN
from tessera.server.asgi import create_app
from tessera.server.sockets import address, bind, listen
from tessera.server.storage import pepper
from tessera.settings import Settings

DEPLOYMENT = "replica"


class Replica:
    """The class that Ray Serve makes an actor of."""

    async def __init__(self, plain: Mapping[str, object], version: str, *, alone: bool) -> None:
        """`plain` are the settings of a plan; `version` is Tessera's where it was deployed. Returns when the
        engines can answer; raises `StartupError` and `ModelError`.
        """
        settings = settings_here(plain, version, alone=alone)
        self._context = serve.get_replica_context()
        self._holds = Holds()
        self._ending = AsyncExitStack()
        app = create_app(settings)
        self._service: Service = app.state.service
        self._models = self._service.catalog.models()
        self._exposition = exposition(self._service.metrics, self._counts)
        self._requests = OwnRequests(self._service.in_flight)
        await self._ending.enter_async_context(app.router.lifespan_context(app))
        relaying = Relaying(app, relay_key(pepper(settings)), self._holds)
        self._address = await self._ending.enter_async_context(_listening(relaying))

    async def __del__(self) -> None:
        """Ray Serve awaits this when the running requests have ended."""
        await self._ending.aclose()

    async def hold(self, hashes: Sequence[bytes]) -> AsyncGenerator[tuple[str, str]]:
        """Announces a request: yields the address to send it to, and the id of its hold. Ends when the
        request has ended. The router of Ray Serve reads the `hashes` of its conversation.
        """
        with self._holds.announced() as hold:
            yield self._address, hold.id
            await hold.until_ended()

    async def describe(self) -> dict[str, object]:
        """A row of `tessera deploy replicas`."""
        states = {model.id: model.engine.unready() or "ready" for model in self._models}
        return {
            "replica": self._context.replica_id.unique_id,
            "node": ray.util.get_node_ip_address(),
            "address": self._address,
            "process": os.getpid(),
            "version": __version__,
            "engines": states,
            "requests": self._service.in_flight.n,
        }

    async def metrics(self) -> tuple[str, bytes]:
        """The replica, and its metrics as Prometheus reads them."""
        return self._context.replica_id.unique_id, self._exposition()

    async def requests(self, cancel: str | None = None) -> list[Shown]:
        """The requests in flight or, with an id, those that were cancelled now."""
        requests = self._requests
        rows = await (requests.show() if cancel is None else requests.cancel(cancel))
        return [{**row, "replica": self._context.replica_id.unique_id} for row in rows]

    async def check_health(self) -> None:
        """Raises `EngineUnavailable` while an engine cannot answer; after several times in a row, Ray Serve
        replaces the replica.
        """
        for model in self._models:
            if reason := model.engine.unready():
                raise EngineUnavailable(f"The engine of {model.id} cannot answer: {reason}.")

    def _counts(self) -> Mapping[str, Mapping[str, int]]:
        hosted = {
            model.id: model.engine.process
            for model in self._models
            if isinstance(model.engine, PrivateEngine)
        }
        return {
            id: {**process.gauges, "up": int(process.is_ready), "n_restarts": process.n_restarts}
            for id, process in hosted.items()
        }


def settings_here(plain: Mapping[str, object], version: str, *, alone: bool) -> Settings:
    """The settings of a plan in a process of the cluster. Raises `StartupError` if this node is another's."""
    if version != __version__:
        raise StartupError(
            f"This node has Tessera {__version__}, and {version} was deployed. Install that version."
        )
    settings = replica_settings(plain, os.environ)
    require_stores(settings, alone=alone)
    configure(settings.log_level, settings.log_format)
    return settings


@asynccontextmanager
async def _listening(app: ASGIApp) -> AsyncGenerator[str]:
    """Serves `app` on a port of this node, at the address that the other nodes know; yields the URL."""
    with bind(ray.util.get_node_ip_address(), 0, "the address that Ray has of this node") as listener:
        listen(listener)
        async with serving_admin(app, listener, UVICORN):
            yield address(listener)


def build_application(arguments: Mapping[str, Any]) -> Foreign:
    """The application of what `plan.arguments_of` returns. A manifest names this function."""
    router = serve.config.RequestRouterConfig(request_router_class=ROUTER)
    deployed = serve.deployment(
        Replica, name=DEPLOYMENT, request_router_config=router, **arguments["options"]
    )
    return deployed.bind(arguments["settings"], arguments["version"], alone=arguments["alone"])
