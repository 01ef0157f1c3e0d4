"""The engine's process and its owner: started, watched, started again, and ended.

The owner listens for the worker: the path is the same over all restarts, and whoever connects while there is
no worker is accepted by the next one. It has a connection of its own, over which it asks for signs of life.
A worker that has stopped giving any is killed.
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
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from tessera.engine.host.frames import FromWorker, Gauges, Ping, Start, pack
from tessera.engine.host.link import Link
from tessera.engine.openvino.config import HOMELESS, WorkerConfig
from tessera.errors import EngineUnavailable
from tessera.processes import children
from tessera.processes.supervision import Death, patiently, supervise

WORKER_COMMAND = children.command("tessera.engine.host.worker")

LOOK_EVERY_S = 0.25
# A worker that loads answers nobody; a large model on a slow disk takes minutes.
START_S = 900.0

# All that the worker inherits of the environment; the rest may hold secrets.
_INHERITED = ("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")
# Rows of logits come and go at every step: keep their memory instead of returning it to the kernel.
_ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": str(2**28), "MALLOC_MMAP_THRESHOLD_": str(2**25)}
_GIVEN = _ALLOCATOR | HOMELESS
_STDERR = 2
_BACKLOG = 1024
_MAX_PATH_BYTES = 107
_SHORT_FOLDER = "/tmp"  # noqa: S108 - what is made there has a name that nobody can know before
_PING = pack(Ping())


class EngineProcess:
    """Owns the engine's process, whatever becomes of it."""

    def __init__(
        self, config: WorkerConfig, *, hang_s: float = 30.0, command: Sequence[str] = WORKER_COMMAND
    ) -> None:
        """Nothing runs before `run`. `hang_s` may pass without a sign of life; `command` is the worker's."""
        self.path = _socket_path()
        """Where clients connect; it exists while `run` does."""
        self.gauges: Gauges = {}
        """What the worker said last; empty while there is none."""
        self._config = config
        self._hang_s = hang_s
        self._command = command
        self._child: Process | None = None
        self._n_lives = 0
        self._ready_at: float | None = None
        self._heard = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def pid(self) -> int | None:
        """Of the worker, while there is one."""
        return self._child.pid if self._child else None

    @property
    def n_restarts(self) -> int:
        """How often the worker was started again."""
        return max(0, self._n_lives - 1)

    async def run(self, started: Callable[[], None]) -> None:
        """Keep a worker alive until this is closed; `started` is called once, when the first one is ready.

        Raises `EngineUnavailable` when the first one does not start, or when restarts do not help. The worker
        is gone when this returns or raises.
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
        """End the worker and `run`. Safe to call twice."""
        self._closed = True
        if self._running:
            self._running.cancel()
            await asyncio.wait({self._running})

    async def _run(self, started: Callable[[], None]) -> None:
        with _listening(self.path) as listener:
            await supervise(partial(self._live, listener), started)

    async def _live(self, listener: socket.socket, ready: Callable[[], None]) -> Death:
        """One worker, from its start to its end."""
        self._ready_at = None
        self._n_lives += 1
        try:
            cause = await self._last(listener, ready)
        except OSError as error:  # no process or no descriptor is to be had: that may pass
            cause = f"could not be started: {error}"
        return Death(cause, None if self._ready_at is None else time.monotonic() - self._ready_at)

    async def _last(self, listener: socket.socket, ready: Callable[[], None]) -> str:
        """Until it ends by itself, or has to be ended; how it did."""
        child = self._child = await _spawn(self._config, self._command, listener)
        exit, vigil = asyncio.create_task(child.wait()), asyncio.create_task(self._watch(ready))
        try:
            await asyncio.wait({exit, vigil}, return_when=asyncio.FIRST_COMPLETED)
            return children.ending(exit.result()) if exit.done() else vigil.result()
        finally:
            vigil.cancel()
            await children.kill(child)
            self._child, self.gauges = None, {}

    async def _watch(self, ready: Callable[[], None]) -> str:
        """Ask for signs of life until none comes; what was missing."""
        self._heard.clear()
        link = Link(self._hear)
        await link.open(self.path)
        try:
            if not await self._hears_within(START_S):
                return f"was not ready within {START_S:g} s"
            self._ready_at = time.monotonic()
            ready()
            while await self._hears_within(self._hang_s):
                await asyncio.sleep(LOOK_EVERY_S)
                self._heard.clear()
                link.send(_PING)
            return f"gave no sign of life for {self._hang_s:g} s"
        finally:
            link.cut()

    def _hear(self, frame: FromWorker) -> None:
        self.gauges = frame.gauges
        self._heard.set()

    async def _hears_within(self, duration_s: float) -> bool:
        n_looks = math.ceil(duration_s / LOOK_EVERY_S) + 1
        with suppress(TimeoutError):
            await patiently(self._heard.wait, n_looks, LOOK_EVERY_S)
        return self._heard.is_set()


def _socket_path() -> str:
    """Among the temporary files, if that is not too long for a socket."""
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


async def _spawn(config: WorkerConfig, command: Sequence[str], listener: socket.socket) -> Process:
    fd = listener.fileno()
    environment = children.chosen(*_INHERITED) | _GIVEN
    child = await children.start((*command, str(fd)), environment, stdout=_STDERR, pass_fds=(fd,))
    with suppress(BrokenPipeError):  # it has ended, which `wait` will report
        children.write(child, pack(Start(config)))
    return child
