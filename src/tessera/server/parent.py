"""`tessera serve`, the parent process: it binds sockets, finds the model's files, runs the engine and the
API, and shuts them down.

With one worker the API runs in this process, with more in processes of their own: either way it is a `Front`.
"""

import asyncio
import dataclasses
import faulthandler
import logging
import signal
import socket
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import uvloop

from tessera import __version__
from tessera.access.keys import KeyHasher, generate_key
from tessera.catalog import Model
from tessera.engine.host.process import EngineProcess
from tessera.errors import EngineError, StartupError
from tessera.http.admin.app import admin_app
from tessera.http.admin.debug import debug_routes
from tessera.http.admin.routes import admin_routes
from tessera.models.folder import ModelFolder
from tessera.models.progress import Progress
from tessera.observe.logs import configure, log
from tessera.observe.metrics import exposition
from tessera.server.admin import serving_admin
from tessera.server.api import Api, ApiPlan
from tessera.server.blueprints import find_folder, read_blueprint
from tessera.server.migrating import prepared
from tessera.server.sockets import address, bind, shared
from tessera.server.storage import pepper
from tessera.server.systemd import notify
from tessera.server.wiring import limits, tiers
from tessera.server.workers import Workers
from tessera.settings import Settings

_logger = logging.getLogger(__name__)
# The first process of a container has no default action for them: whatever is not handled is ignored.
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Front(Protocol):
    """What answers HTTP. Its shutdown has the phases of `server/draining.py`."""

    async def run(self, started: Callable[[], None]) -> None:
        """Serves until shutdown has finished. Calls `started` once the model can answer."""
        ...

    def drain(self) -> None:
        """Begins the shutdown."""
        ...

    def end(self) -> None:
        """Stops now; replies still running end with an error."""
        ...


def run_service(settings: Settings, progress: Progress) -> None:
    """Serves the model of the settings until a signal ends it; raises `StartupError`."""
    configure(settings.log_level, settings.log_format)
    faulthandler.register(signal.SIGUSR1)
    # Bad settings are reported before anything is downloaded.
    tiers(settings)
    limits(settings)
    pepper(settings)
    _check_admin_key(settings)
    for number in _SIGNALS:  # until the loop takes them over
        signal.signal(number, lambda number, frame: sys.exit(0))
    with ExitStack() as stack:
        # Bound first, so that a port in use is reported before anything is downloaded; they listen later.
        listener = stack.enter_context(bind(settings.host, settings.port, "--host and --port"))
        admin = None
        if settings.admin_port is not None:
            flags = "--admin-host and --admin-port"
            admin = stack.enter_context(bind(settings.admin_host, settings.admin_port, flags))
        folder = find_folder(settings, progress)
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        runner.run(_serve(settings, folder, listener, admin))


async def _serve(
    given: Settings, folder: ModelFolder | None, listener: socket.socket, admin: socket.socket | None
) -> None:
    # The API processes have no use for the admin key.
    settings = dataclasses.replace(given, api_key=given.api_key or generate_key(), admin_key=None)
    secret = pepper(settings)
    blueprint = read_blueprint(settings, folder)
    engine = EngineProcess(blueprint.config, hang_s=settings.engine_hang_s) if blueprint.config else None
    path = engine.path if engine else None
    model = blueprint.model(path)
    with _metrics_directory(settings) as metrics_directory:
        front: Front
        if settings.workers == 1:
            front = api = Api(model, settings, secret, listener)
            records = api.records
            shown = exposition(api.metrics, lambda: _counts(engine))
        else:
            plan = ApiPlan(settings, secret, folder, path)
            front = Workers(plan, shared(listener, settings.workers), metrics_directory)
            records = None
            shown = exposition(None, lambda: _counts(engine), metrics_directory)
        _obey_signals(front)
        new_key = None if given.api_key else settings.api_key
        announce = _Announcement(settings, model, address(listener), new_key)
        async with prepared(settings) as store:
            routes = [*admin_routes(store, tiers(settings), KeyHasher(secret)), *debug_routes(records)]
            async with serving_admin(admin_app(shown, given.admin_key, routes), admin):
                await run(front, engine, announce)


def _check_admin_key(settings: Settings) -> None:
    if settings.admin_key is None:
        return
    if settings.admin_port is None:
        raise StartupError(
            "TESSERA_ADMIN_KEY is of no use without an admin listener: give it an --admin-port."
        )
    if settings.admin_key == settings.api_key:
        raise StartupError("TESSERA_ADMIN_KEY and TESSERA_API_KEY are the same: clients would be admins.")


def _counts(engine: EngineProcess | None) -> Mapping[str, int]:
    """What the admin listener shows of the engine."""
    return {**engine.gauges, "n_restarts": engine.n_restarts} if engine else {}


async def run(front: Front, engine: EngineProcess | None, announce: Callable[[], None]) -> None:
    """Runs both until the front has shut down, or the engine cannot go on. The engine is closed last."""
    serving = asyncio.create_task(front.run(announce))
    if engine is None:
        await serving
        return
    began = asyncio.Event()
    computing = asyncio.create_task(engine.run(began.set))
    try:
        await asyncio.wait({serving, computing}, return_when=asyncio.FIRST_COMPLETED)
        if computing.done():
            front.end()
        await serving
    finally:
        await engine.aclose()
        (failure,) = await asyncio.gather(computing, return_exceptions=True)
    if isinstance(failure, EngineError) and not began.is_set():
        raise StartupError(failure.message) from failure
    if failure is not None:
        raise failure


def _obey_signals(front: Front) -> None:
    """The first SIGTERM or SIGINT begins the shutdown, the second ends it at once."""
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
    """The directory that several API processes write their metrics to, if there is an admin listener."""
    if settings.workers == 1 or settings.admin_port is None:
        yield None
        return
    with TemporaryDirectory(prefix="tessera-metrics-") as path:
        yield Path(path)


@dataclasses.dataclass(frozen=True, slots=True)
class _Announcement:
    """Logs and prints, when the model can answer, what is served and where."""

    settings: Settings
    model: Model
    address: str
    new_key: str | None

    def __call__(self) -> None:
        model = self.model
        names = [alias for alias in self.settings.aliases if alias != model.id]
        log(
            _logger,
            "info",
            "serving",
            version=__version__,
            model=model.id,
            aliases=", ".join(names),
            context_tokens=model.context_tokens,
            address=self.address,
            workers=self.settings.workers,
        )
        with suppress(OSError):  # standard output may be closed
            self._print(names)
        notify("READY=1")

    def _print(self, names: list[str]) -> None:
        model = self.model
        also = f", which also answers to {', '.join(names)}" if names else ""
        print(f"Serving {model.id}{also}.", flush=True)
        print(f"Listening on {self.address}/v1, context {model.context_tokens} tokens.", flush=True)
        if self.new_key:
            print(f"export TESSERA_API_KEY={self.new_key}", flush=True)
