"""`tessera serve`, the parent process: binds the sockets, prepares the models, runs engines and the API.

With one worker the API runs in this process, with more in processes of their own: either way it is a `Front`.
"""

import asyncio
import dataclasses
import faulthandler
import logging
import signal
import socket
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import uvloop

from tessera import __version__
from tessera.access.keys import KeyHasher, generate_key
from tessera.catalog import Catalog
from tessera.engine.host.process import EngineProcess
from tessera.engine.registry import check_engine
from tessera.errors import EngineError, StartupError
from tessera.http.admin.app import admin_app
from tessera.http.admin.debug import debug_routes
from tessera.http.admin.requests import RequestsInFlight
from tessera.http.web.site import CONSOLE, Site
from tessera.models.progress import Progress
from tessera.observe.exposition import ParentMetrics, exposition
from tessera.observe.logs import configure, log
from tessera.server.admin import admin_api, serving_admin
from tessera.server.api import Api, ApiPlan, uvicorn_options
from tessera.server.budget_watch import check_webhook
from tessera.server.models import ModelPlan, catalog_of, prepare_models, read_blueprint
from tessera.server.sockets import address, bind, shared
from tessera.server.storage import has_store, secrets_of, spool_folder
from tessera.server.systemd import notify
from tessera.server.wiring import limits, tiers
from tessera.server.workers import Workers
from tessera.settings import Settings, model_settings

_logger = logging.getLogger(__name__)
# The first process of a container has no default action for signals: it ignores those it does not handle.
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Front(Protocol):
    """What answers HTTP. Its shutdown has the phases of `server/draining.py`."""

    @property
    def requests(self) -> RequestsInFlight:
        """Those of all its processes."""
        ...

    async def run(self, started: Callable[[], None]) -> None:
        """Serves until the shutdown has finished; calls `started` once all models can answer."""
        ...

    def drain(self) -> None:
        """Begins the shutdown: running replies may be finished."""
        ...

    def end(self) -> None:
        """Stops now; replies that are still running end with an error."""
        ...


def run_service(settings: Settings, progress: Progress) -> None:
    """Serves the models of the settings until a signal asks for the end; raises `StartupError`."""
    configure(settings.log_level, settings.log_format)
    faulthandler.register(signal.SIGUSR1)
    # Bad settings stop the start before anything is downloaded.
    for each in model_settings(settings):
        check_engine(each)
    tiers(settings)
    limits(settings)
    secrets_of(settings)
    check_admin_key(settings)
    check_webhook(settings)
    for number in _SIGNALS:  # until the loop takes them over
        signal.signal(number, lambda number, frame: sys.exit(0))
    with ExitStack() as stack:
        # Bound first, so that a port in use is reported before anything is downloaded; they listen later.
        listener = stack.enter_context(bind(settings.host, settings.port, "--host and --port"))
        admin = None
        if settings.admin_port is not None:
            flags = "--admin-host and --admin-port"
            admin = stack.enter_context(bind(settings.admin_host, settings.admin_port, flags))
        plans = prepare_models(settings, progress)
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        runner.run(_serve(settings, plans, listener, admin))


async def _serve(
    given: Settings, models: Sequence[ModelPlan], listener: socket.socket, admin: socket.socket | None
) -> None:
    # The API processes have no use for the admin key.
    settings = dataclasses.replace(given, api_key=given.api_key or generate_key(), admin_key=None)
    stores = has_store(given)
    secret, former = secrets_of(given)
    blueprints = [read_blueprint(plan) for plan in models]
    # With several models, the death of one engine is no reason to end the service.
    processes = [blueprint.process(gives_up=len(blueprints) == 1) for blueprint in blueprints]
    engines = [process for process in processes if process]
    plans = tuple(
        dataclasses.replace(plan, address=process.path if process else None)
        for plan, process in zip(models, processes, strict=True)
    )
    for engine in engines:  # which takes a while
        log(_logger, "info", "starting the engine", model=engine.served.model_id)
    served = zip(blueprints, plans, strict=True)
    catalog = catalog_of([(plan.settings, blueprint.model(plan.address)) for blueprint, plan in served])
    own = ParentMetrics(spool_folder(settings) if stores else None)
    with _metrics_directory(settings) as metrics_directory:
        front: Front
        if settings.workers == 1:
            front = api = Api(catalog, settings, secret, listener, former, stores=stores)
            shown = exposition(api.metrics, lambda: _counts(engines), parent=own)
        else:
            plan = ApiPlan(dataclasses.replace(settings, models=None), secret, plans, former, stores)
            front = Workers(plan, shared(listener, settings.workers), metrics_directory)
            shown = exposition(None, lambda: _counts(engines), metrics_directory, own)
        _obey_signals(front)
        new_key = None if given.api_key else settings.api_key
        announce = partial(_announce, settings.workers, catalog, address(listener), new_key)
        hasher = KeyHasher(secret, former)
        async with admin_api(settings, hasher, own, front.requests, stores=stores) as of_admin:
            routes = [*of_admin, *debug_routes(answers_requests=settings.workers == 1)]
            site = Site(CONSOLE) if settings.web and given.admin_key else None
            app = admin_app(shown, given.admin_key, routes, site)
            async with serving_admin(app, admin, uvicorn_options(settings)):
                await run(front, engines, announce)


def check_admin_key(settings: Settings) -> None:
    """Raises `StartupError` for an admin key without a listener, or one that clients have, too."""
    if settings.admin_key is None:
        return
    if settings.admin_port is None:
        raise StartupError(
            "TESSERA_ADMIN_KEY is of no use without an admin listener: give it an --admin-port."
        )
    if settings.admin_key in (settings.api_key, settings.previous_api_key):
        raise StartupError("TESSERA_ADMIN_KEY and TESSERA_API_KEY are the same: clients would be admins.")


def _counts(engines: Sequence[EngineProcess]) -> Mapping[str, Mapping[str, int]]:
    """What the admin listener shows of the engines, by the id of their model."""
    return {
        each.served.model_id: {**each.gauges, "up": int(each.is_ready), "n_restarts": each.n_restarts}
        for each in engines
    }


async def run(front: Front, engines: Sequence[EngineProcess], announce: Callable[[], None]) -> None:
    """Serves until the front has shut down, or an engine cannot go on. The engines end after the front.

    Calls `announce` once the front can answer and all engines are ready. Raises `StartupError` if an engine
    does not start.
    """
    n_starting = 1 + len(engines)

    def count_started() -> None:
        nonlocal n_starting
        n_starting -= 1
        if not n_starting:
            announce()

    serving = asyncio.create_task(front.run(count_started))
    computing = [asyncio.create_task(engine.run(count_started)) for engine in engines]
    try:
        await asyncio.wait({serving, *computing}, return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            front.end()
        await serving
    finally:
        await asyncio.gather(*(engine.aclose() for engine in engines))
        ended = await asyncio.gather(*computing, return_exceptions=True)
    failure = next((each for each in ended if each is not None), None)
    if isinstance(failure, EngineError) and n_starting:
        raise StartupError(failure.message) from failure
    if failure is not None:
        raise failure


def _obey_signals(front: Front) -> None:
    """The first SIGTERM or SIGINT begins the shutdown, the second shortens it."""
    n_signals = 0

    def obey() -> None:
        nonlocal n_signals
        n_signals += 1
        if n_signals == 1:
            notify("STOPPING=1")
            front.drain()
        else:
            front.end()

    for number in _SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, obey)


@contextmanager
def _metrics_directory(settings: Settings) -> Generator[Path | None]:
    """The folder that several API processes share for their metrics, if there is a listener to show them."""
    if settings.workers == 1 or settings.admin_port is None:
        yield None
        return
    with TemporaryDirectory(prefix="tessera-metrics-") as path:
        yield Path(path)


def _announce(workers: int, catalog: Catalog, address: str, new_key: str | None) -> None:
    """Logs and prints that the service can answer, and tells the service manager."""
    lines: list[str] = []
    for model in catalog.models():
        named = (name for name, owner in catalog.names() if owner is model and name != model.id)
        aliases = ", ".join(named)
        log(
            _logger,
            "info",
            "serving",
            version=__version__,
            model=model.id,
            aliases=aliases,
            context_tokens=model.context_tokens,
            address=address,
            workers=workers,
        )
        lines.append(f"Serving {model.id}{f', which also answers to {aliases}' if aliases else ''}.")
    contexts = ", ".join(str(model.context_tokens) for model in catalog.models())
    lines.append(f"Listening on {address}/v1, context {contexts} tokens.")
    if new_key:
        lines.append(f"export TESSERA_API_KEY={new_key}")
    with suppress(OSError):  # nobody reads it, which is no reason not to serve
        print("\n".join(lines), flush=True)
    notify("READY=1")
