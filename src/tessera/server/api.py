"""What an API process does: HTTP on a socket that it is given, with engines in processes of their own.

    python -m tessera.server.api FD CONTROL

FD is an inherited, bound socket, and CONTROL one on which the parent asks about requests. Standard input
begins with an `ApiPlan`; after that it is the lifeline, which ends when the parent wants this process to
stop, or has itself ended. One byte a second on standard output is the heartbeat; `READY` says, once, that all
models can answer. SIGTERM begins the shutdown, and SIGUSR1 writes the stacks of all threads to standard
error.
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

from tessera.catalog import Catalog
from tessera.errors import EngineError, ModelError, StartupError
from tessera.http.admin.requests import OwnRequests
from tessera.http.app import build_app
from tessera.observe.logs import configure
from tessera.processes.frames import frame, read_frame
from tessera.server.control import answer_questions
from tessera.server.draining import DrainingServer
from tessera.server.http1.protocol import GuardedProtocol
from tessera.server.models import ModelPlan, open_catalog
from tessera.server.sockets import listen
from tessera.server.wiring import wire_service
from tessera.settings import Settings

# We write the logs, and draining has waited already when uvicorn shuts down. An idle connection outlives its
# place in the pools of clients (httpx: 5 s) and proxies (nginx: 60 s): if the server closed it first, it
# would lose a request that arrives just then.
UVICORN: Mapping[str, Any] = {
    "ws": "none",
    "log_config": None,
    "access_log": False,
    "server_header": False,
    "timeout_graceful_shutdown": 2,
    "timeout_keep_alive": 75,
}

BEAT_S = 1.0
BEAT = b"."
READY = b"+"
_STDIN = 0
_STDOUT = 1


def uvicorn_options(settings: Settings) -> Mapping[str, Any]:
    """The options of every listener. The headers of a proxy count only if it is a trusted one."""
    trusted = list(settings.forwarded_allow_ips)
    return {**UVICORN, "proxy_headers": bool(trusted), "forwarded_allow_ips": trusted}


@dataclass(frozen=True, slots=True)
class ApiPlan:
    """What an API process needs to serve: plain data. The settings hold a key; `secret` is the pepper, and
    `former_secret` the one before a rotation; `stores` says whether there is a store.
    """

    settings: Settings
    secret: bytes
    models: tuple[ModelPlan, ...]
    former_secret: bytes | None = None
    stores: bool = True


def pack(plan: ApiPlan) -> bytes:
    """The frame that `read_plan` reads."""
    return frame(msgspec.msgpack.encode(plan, enc_hook=str))  # of paths


def read_plan(fd: int) -> ApiPlan:
    """Reads the plan, and not a byte more: what follows belongs to the lifeline."""
    payload = read_frame(lambda n_bytes: os.read(fd, n_bytes))
    if payload is None:
        sys.exit("The parent process ended before it sent the plan.")
    return msgspec.msgpack.decode(payload, type=ApiPlan, dec_hook=lambda _, text: Path(text))


class Api:
    """The HTTP service of one process, from its socket to the models: a `Front`."""

    def __init__(
        self,
        catalog: Catalog,
        settings: Settings,
        secret: bytes,
        listener: socket.socket,
        former_secret: bytes | None = None,
        *,
        stores: bool = True,
    ) -> None:
        """Nothing runs before `run`. The settings have a key."""
        service = wire_service(settings, catalog, secret, former_secret, stores=stores)
        self.metrics = service.metrics
        self.requests = OwnRequests(service.in_flight)
        options = uvicorn_options(settings)
        http = type("Protocol", (GuardedProtocol,), {"send_deadline_s": settings.send_deadline_s})
        config = uvicorn.Config(build_app(service), http=http, lifespan="on", **options)
        config.load()
        self._models = catalog.models()
        self._is_ending = False
        self._listener = listener
        self._server = DrainingServer(
            config,
            service.in_flight,
            delay_s=settings.drain_delay_s,
            grace_s=settings.shutdown_grace_s,
        )

    async def run(self, started: Callable[[], None]) -> None:
        listen(self._listener)
        opening = asyncio.create_task(self._open(started))
        opening.add_done_callback(self._end_if_failed)
        try:
            await self._server.serve(sockets=[self._listener])
        finally:
            opening.cancel()
            (ended,) = await asyncio.gather(opening, return_exceptions=True)
        # A shutdown interrupts a start that is still going on; that is no failure.
        if isinstance(ended, Exception) and not isinstance(ended, EngineError) and not self._is_ending:
            raise ended

    def drain(self) -> None:
        self._is_ending = True
        self._server.drain()

    def end(self) -> None:
        self._is_ending = True
        self._server.end()

    def _end_if_failed(self, opening: asyncio.Task[None]) -> None:
        if not (opening.cancelled() or self._is_ending) and opening.exception():
            self._server.end()

    async def _open(self, started: Callable[[], None]) -> None:
        await self._server.listening.wait()
        starting = [asyncio.create_task(model.start()) for model in self._models]
        try:
            # One model that cannot be restarted must not keep the others from answering.
            for n_ready, start in enumerate(asyncio.as_completed(starting)):
                await start
                if n_ready == 0:
                    gc.freeze()  # these objects stay: the collector need not look through them again
            started()
        finally:
            for task in starting:
                task.cancel()
            await asyncio.gather(*starting, return_exceptions=True)


async def _work(plan: ApiPlan, listener: socket.socket, control: socket.socket) -> None:
    catalog = open_catalog(plan.models)
    api = Api(catalog, plan.settings, plan.secret, listener, plan.former_secret, stores=plan.stores)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, api.drain)

    def read_lifeline() -> None:
        if not os.read(_STDIN, 1):
            loop.remove_reader(_STDIN)
            api.end()

    loop.add_reader(_STDIN, read_lifeline)

    def report(sign: bytes) -> None:
        with suppress(BrokenPipeError):  # the parent has exited: so has the lifeline ended
            os.write(_STDOUT, sign)

    def beat() -> None:
        report(BEAT)
        loop.call_later(BEAT_S, beat)

    beat()
    answering = asyncio.create_task(answer_questions(control, api.requests))
    try:
        await api.run(lambda: report(READY))
    finally:
        answering.cancel()


def main() -> None:
    """Serves on the socket whose file descriptor is the first argument; the second is that of the control."""
    faulthandler.register(signal.SIGUSR1)
    plan = read_plan(_STDIN)
    configure(plan.settings.log_level, plan.settings.log_format)
    loop = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    listener, control = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    with listener, control, loop as runner:
        try:
            runner.run(_work(plan, listener, control))
        except (StartupError, ModelError) as error:
            sys.exit(error.message)


if __name__ == "__main__":
    main()
