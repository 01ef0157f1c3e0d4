"""A replica: our ASGI application and the engines of one model, in a process of Ray Serve.

Ray Serve calls `__init__`, then the builder of the application, then the application's lifespan, which
migrates the store and starts the engine. At shutdown it lets running requests finish and ends the lifespan.
"""

import os
from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tessera import __version__
from tessera.cluster.library import serve
from tessera.cluster.plan import replica_settings
from tessera.cluster.requirements import require_stores
from tessera.errors import EngineUnavailable, StartupError
from tessera.observe.logs import configure
from tessera.server.asgi import create_app

DEPLOYMENT = "replica"


class Routed:
    """Takes off the prefix of the route, since our paths begin at the root. Ray Serve's proxy adds the header
    `X-Request-Id` itself, so ours is left out: it has the same value.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"].removeprefix(scope.get("root_path", "")) or "/"

        async def send_once_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [pair for pair in message["headers"] if pair[0] != b"x-request-id"]
            await send(message)

        await self._app({**scope, "path": path, "root_path": ""}, receive, send_once_named)


class Replica:
    """The class that Ray Serve makes an actor of."""

    def __init__(self, plain: Mapping[str, object], version: str, *, alone: bool) -> None:
        """`plain` are the settings of a plan; `version` is Tessera's where it was deployed."""
        if version != __version__:
            raise StartupError(
                f"This node has Tessera {__version__}, and {version} was deployed. Install that version."
            )
        self._settings = replica_settings(plain, os.environ)
        require_stores(self._settings, alone=alone)
        configure(self._settings.log_level, self._settings.log_format)

    async def __serve_build_asgi_app__(self) -> ASGIApp:
        app = create_app(self._settings)
        self._models = app.state.service.catalog.models()
        return Routed(app)

    async def check_health(self) -> None:
        """Raises `EngineUnavailable` while an engine cannot answer; after several times in a row, Ray Serve
        replaces the replica.
        """
        for model in self._models:
            if reason := model.engine.unready():
                raise EngineUnavailable(f"The engine of {model.id} cannot answer: {reason}.")


def build_application(arguments: Mapping[str, Any]) -> Any:  # noqa: ANN401 - Ray's, which is untyped here
    """The application of what `plan.arguments_of` returns. A manifest names this function."""
    deployed = serve.deployment(serve.ingress()(Replica), name=DEPLOYMENT, **arguments["options"])
    return deployed.bind(arguments["settings"], arguments["version"], alone=arguments["alone"])
