"""An API process: it serves HTTP on a socket that it inherits, with an engine that may be in another process.

    python -m tessera.server.api FD

FD is an inherited, bound socket. Standard input begins with an `ApiPlan`; after that it is the lifeline: its
end means that the parent has exited, or wants this process to stop now. The first byte on standard output
says that the model can answer; from then on one byte a second says that the process is not stuck. SIGTERM
begins the shutdown, and SIGUSR1 writes the stacks of all threads to standard error.
"""

import asyncio
import faulthandler
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
import uvloop

from tessera.catalog import Model
from tessera.engine.host.client import OpenVinoEngine
from tessera.errors import EngineError, StartupError
from tessera.http.app import build_app
from tessera.models.folder import ModelFolder
from tessera.observe.logs import configure
from tessera.server.blueprints import catalog, read_blueprint
from tessera.server.draining import DrainingServer
from tessera.server.http1.protocol import GuardedProtocol
from tessera.server.sockets import listen
from tessera.server.wiring import wire_service
from tessera.settings import Settings

# Logs are ours, draining has waited already when uvicorn shuts down, and no header of a proxy is trusted. An
# idle connection outlives its place in the pools of clients (httpx: 5 s) and proxies (nginx: 60 s): were the
# server the first to close it, a request that is sent just then would be lost.
UVICORN: Mapping[str, Any] = {
    "ws": "none",
    "log_config": None,
    "access_log": False,
    "server_header": False,
    "proxy_headers": False,
    "timeout_graceful_shutdown": 2,
    "timeout_keep_alive": 75,
}
BEAT_S = 1.0
_STDIN = 0
_STDOUT = 1
_LENGTH_BYTES = 4


@dataclass(frozen=True, slots=True)
class ApiPlan:
    """What an API process gets from its parent. `settings` hold a key; `secret` is the pepper;
    without a `folder` the engine is a scripted one of the process's own.
    """

    settings: Settings
    secret: bytes
    folder: ModelFolder | None
    engine_path: str | None


def pack(plan: ApiPlan) -> bytes:
    """As `read_plan` expects it."""
    payload = msgspec.msgpack.encode(plan, enc_hook=str)  # of paths
    return len(payload).to_bytes(_LENGTH_BYTES, "big") + payload


def read_plan(fd: int) -> ApiPlan:
    """Reads the plan, and not a byte more: what follows is the lifeline's."""
    with os.fdopen(fd, "rb", buffering=0, closefd=False) as pipe:
        payload = _exactly(pipe.read, int.from_bytes(_exactly(pipe.read, _LENGTH_BYTES), "big"))
    return msgspec.msgpack.decode(payload, type=ApiPlan, dec_hook=lambda _, text: Path(text))


def _exactly(read: Callable[[int], bytes | None], n_bytes: int) -> bytes:
    received = b""
    while len(received) < n_bytes:
        more = read(n_bytes - len(received))
        if not more:
            sys.exit("The parent ended before it said what to do.")
        received += more
    return received


class Api:
    """The HTTP service of one process, from its socket to the model."""

    def __init__(self, model: Model, settings: Settings, secret: bytes, listener: socket.socket) -> None:
        service = wire_service(settings, catalog(model, settings), secret)
        self.metrics = service.metrics
        self.records = service.in_flight.records
        config = uvicorn.Config(build_app(service), http=GuardedProtocol, lifespan="on", **UVICORN)
        config.load()
        self._model = model
        self._listener = listener
        self._server = DrainingServer(
            config,
            service.in_flight,
            delay_s=settings.drain_delay_s,
            grace_s=settings.shutdown_grace_s,
        )

    async def run(self, started: Callable[[], None]) -> None:
        """Serves until shutdown has finished. Calls `started` once the model can answer."""
        listen(self._listener)
        opening = asyncio.create_task(self._open(started))
        opening.add_done_callback(lambda task: task.cancelled() or task.exception() is None or self.end())
        try:
            await self._server.serve(sockets=[self._listener])
        finally:
            opening.cancel()
            (ended,) = await asyncio.gather(opening, return_exceptions=True)
        # An engine that is closed before it was ready raises EngineError.
        if isinstance(ended, Exception) and not isinstance(ended, EngineError):
            raise ended

    def drain(self) -> None:
        """Begins the shutdown."""
        self._server.drain()

    def end(self) -> None:
        """Stops now; replies still running end with an error."""
        self._server.end()

    async def _open(self, started: Callable[[], None]) -> None:
        await self._server.listening.wait()
        if isinstance(self._model.engine, OpenVinoEngine):
            self._model.engine.connect()
            await self._model.engine.ready()
        await self._model.start()
        gc.freeze()  # all objects until here live as long as the process: the collector may ignore them
        started()


async def _work(plan: ApiPlan, listener: socket.socket) -> None:
    model = read_blueprint(plan.settings, plan.folder).model(plan.engine_path)
    api = Api(model, plan.settings, plan.secret, listener)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, api.drain)

    def read_lifeline() -> None:
        if not os.read(_STDIN, 1):
            loop.remove_reader(_STDIN)
            api.end()

    loop.add_reader(_STDIN, read_lifeline)

    def beat() -> None:
        with suppress(BrokenPipeError):  # the parent has exited: so has the lifeline ended
            os.write(_STDOUT, b"\n")
        loop.call_later(BEAT_S, beat)

    await api.run(beat)


def main() -> None:
    """Serves on the socket whose file descriptor is the first argument."""
    faulthandler.register(signal.SIGUSR1)
    plan = read_plan(_STDIN)
    configure(plan.settings.log_level, plan.settings.log_format)
    loop = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    with socket.socket(fileno=int(sys.argv[1])) as listener, loop as runner:
        try:
            runner.run(_work(plan, listener))
        except StartupError as error:
            sys.exit(error.message)


if __name__ == "__main__":
    main()
