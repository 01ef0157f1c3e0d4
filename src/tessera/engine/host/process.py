"""The owner of an engine's process: starts, watches, restarts and ends it.

The owner holds the listening socket: its path stays the same over all restarts, and a client that connects
while there is no worker is accepted by the next one. The owner also has a connection of its own, over which
it pings the worker. A worker that does not answer is killed.
"""

import asyncio
import math
import os
import secrets
import shutil
import socket
import tempfile
import time
from asyncio.subprocess import Process
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType

from tessera.core.generation import EngineInfo
from tessera.engine.host.frames import FromWorker, Gauges, Ping, Start, pack
from tessera.engine.host.link import Link
from tessera.errors import EngineUnavailable
from tessera.processes import children
from tessera.processes.supervision import ProcessExit, supervise, wait_for_answer

LOOK_EVERY_S = 0.25
# A worker that is still loading answers nobody; a large model on a slow disk takes minutes.
START_S = 900.0

# The worker inherits no other variables: they may hold secrets.
_INHERITED = ("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")
# Rows of logits come and go at every step: keep their memory instead of returning it to the kernel.
_ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": str(2**28), "MALLOC_MMAP_THRESHOLD_": str(2**25)}
_GIVEN = _ALLOCATOR | children.HOMELESS
_NOTHING: Mapping[str, str] = MappingProxyType({})
_STDERR = 2
_BACKLOG = 1024
_MAX_PATH_BYTES = 107
_SHORT_FOLDER = "/tmp"  # noqa: S108 - nobody can know the name that is made there in advance
_PING = pack(Ping())


def worker_command(python: str | None = None) -> tuple[str, ...]:
    """The command line of a worker, in this environment or in that of another interpreter."""
    return children.command("tessera.engine.host.worker", python=python)


class EngineProcess:
    """Keeps a worker alive."""

    def __init__(
        self,
        start: Start,
        *,
        environment: Mapping[str, str] = _NOTHING,
        hang_s: float = 30.0,
        gives_up: bool = True,
        command: Sequence[str] | None = None,
    ) -> None:
        """Nothing runs before `run`. A worker that gives no sign of life for `hang_s` is killed.

        `environment` is added to the few variables that a worker inherits. Without `gives_up`, a worker that
        was ready once is restarted for ever. `command` is that of `worker_command`, unless it is given.
        """
        self.path = _socket_path()
        """Where clients connect; it exists while `run` does."""
        self.gauges: Gauges = {}
        """The last ones that the worker sent; empty while there is none."""
        self._start = start
        self._environment = children.chosen(*_INHERITED) | _GIVEN | {**environment}
        self._hang_s = hang_s
        self._gives_up = gives_up
        self._command = command or worker_command()
        self._child: Process | None = None
        self._n_lives = 0
        self._ready_at: float | None = None
        self._answered = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def served(self) -> EngineInfo:
        """What the worker is expected to serve."""
        return self._start.served

    @property
    def pid(self) -> int | None:
        """Of the worker, while there is one."""
        return self._child.pid if self._child else None

    @property
    def is_ready(self) -> bool:
        """Whether there is a worker that can generate."""
        return self._child is not None and self._ready_at is not None

    @property
    def n_restarts(self) -> int:
        """How often the worker was restarted."""
        return max(0, self._n_lives - 1)

    async def run(self, started: Callable[[], None]) -> None:
        """Keeps a worker alive until this is closed; calls `started` once, when the first one is ready.

        Raises `EngineUnavailable` if the first one does not start, or if restarts do not help. The worker is
        gone when this returns or raises.
        """
        if self._closed:
            return
        self._running = asyncio.create_task(self._run(started))
        try:
            await self._running
        except asyncio.CancelledError:
            if not self._closed:
                raise

    async def aclose(self) -> None:
        """Ends the worker and `run`. Safe to call twice."""
        self._closed = True
        if self._running:
            self._running.cancel()
            await asyncio.wait({self._running})

    async def _run(self, started: Callable[[], None]) -> None:
        with _listening(self.path) as listener:
            run_process = partial(self._run_process, listener)
            await supervise(run_process, started, model=self.served.model_id, gives_up=self._gives_up)

    async def _run_process(self, listener: socket.socket, ready: Callable[[], None]) -> ProcessExit:
        """Runs one worker, from its start to its end."""
        self._ready_at = None
        self._n_lives += 1
        try:
            cause = await self._run_worker(listener, ready)
        except OSError as error:  # no process or descriptor was free, which a retry may mend
            cause = f"could not be started as {self._command[0]}: {error}"
        return ProcessExit(cause, None if self._ready_at is None else time.monotonic() - self._ready_at)

    async def _run_worker(self, listener: socket.socket, ready: Callable[[], None]) -> str:
        """Returns how the worker ended, by itself or because it hung."""
        child = self._child = await self._spawn(listener)
        exit = asyncio.create_task(child.wait())
        watching = asyncio.create_task(self._watch(ready))
        try:
            with suppress(OSError):  # it has died already: its exit code says more
                await children.send(child, pack(self._start))
            await asyncio.wait({exit, watching}, return_when=asyncio.FIRST_COMPLETED)
            return children.ending(exit.result()) if exit.done() else watching.result()
        finally:
            watching.cancel()
            await children.kill(child)
            self._child = None
            self.gauges = {}

    async def _spawn(self, listener: socket.socket) -> Process:
        fd = listener.fileno()
        return await children.start(
            (*self._command, str(fd)), self._environment, stdout=_STDERR, pass_fds=(fd,)
        )

    async def _watch(self, ready: Callable[[], None]) -> str:
        """Pings the worker until it no longer answers; returns what was missing."""
        self._answered.clear()
        link = Link(self._receive)
        await link.open(self.path)
        try:
            if not await self._answers_within(START_S):
                return f"was not ready within {START_S:g} s"
            self._ready_at = time.monotonic()
            ready()
            while await self._answers_within(self._hang_s):
                await asyncio.sleep(LOOK_EVERY_S)
                self._answered.clear()
                link.send(_PING)
            return f"gave no sign of life for {self._hang_s:g} s"
        finally:
            link.cut()

    def _receive(self, frame: FromWorker) -> None:
        self.gauges = frame.gauges
        self._answered.set()

    async def _answers_within(self, duration_s: float) -> bool:
        n_looks = math.ceil(duration_s / LOOK_EVERY_S) + 1
        with suppress(TimeoutError):
            await wait_for_answer(self._answered.wait, n_looks, LOOK_EVERY_S)
        return self._answered.is_set()


def _socket_path() -> str:
    """A path among the temporary files, if that is not too long for a socket."""
    name = f"tessera-{secrets.token_hex(8)}/engine"
    usual = f"{tempfile.gettempdir()}/{name}"
    return usual if len(os.fsencode(usual)) <= _MAX_PATH_BYTES else f"{_SHORT_FOLDER}/{name}"


@contextmanager
def _listening(path: str) -> Generator[socket.socket]:
    """A socket in a directory that only this user may enter: a few system calls, not worth a thread.

    Raises `EngineUnavailable` if there cannot be such a directory.
    """
    directory = Path(path).parent
    try:
        directory.mkdir(mode=0o700)
    except OSError as error:
        raise EngineUnavailable(
            f"The engine's socket cannot be made in {directory.parent}: {error.strerror}. Set TMPDIR to a "
            "folder that can be written and has a short name."
        ) from error
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen(_BACKLOG)
            yield listener
    finally:
        shutil.rmtree(directory, ignore_errors=True)
