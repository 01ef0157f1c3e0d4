"""The service's side of the CPU engine: it starts the engine's process, talks to it, and ends it."""

import asyncio
import os
import shutil
import socket
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tessera.core.generation import EngineInfo, Prompt, Sampling, TokenChunk
from tessera.engine.openvino.config import WorkerConfig
from tessera.engine.openvino.frames import Start, pack
from tessera.engine.openvino.link import Link, unavailable

# -P: the current directory is no place to import from.
WORKER_COMMAND = (sys.executable, "-P", "-m", "tessera.engine.openvino.worker")
TERMINATION_S = 3.0

# All that the worker inherits of the environment; the rest may hold secrets.
_INHERITED = ("PATH", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH")
# Rows of logits come and go at every step: keep their memory instead of returning it to the kernel.
_ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": str(2**28), "MALLOC_MMAP_THRESHOLD_": str(2**25)}
_STDERR = 2


class OpenVinoEngine:
    """An `Engine` whose work is done in a process of its own."""

    def __init__(self, config: WorkerConfig, command: Sequence[str] = WORKER_COMMAND) -> None:
        """Nothing runs before `start`. `command` is the worker's."""
        self._config = config
        self._command = command
        self._child: _Child | None = None
        self._link: Link | None = None
        self._reason: str | None = "engine_starting"

    @property
    def info(self) -> EngineInfo:
        """What the configuration asks for; once the engine is ready, what it serves."""
        hello = self._link.greeting if self._link else None
        return hello.served if hello else self._config.served()

    @property
    def gauges(self) -> Mapping[str, int]:
        """How full the engine was when it last said something."""
        return self._link.gauges if self._link else {}

    @property
    def pid(self) -> int | None:
        """Of the engine's process, while there is one."""
        return self._child.process.pid if self._child else None

    def unready(self) -> str | None:
        """None, `engine_starting`, `engine_dead` or `engine_closed`."""
        if self._reason is None and (self._link is None or self._link.lost):
            return "engine_dead"
        return self._reason

    async def start(self) -> None:
        """Start the process and return when it is ready; raises `EngineUnavailable` if it ends before.

        An engine that died may be started again.
        """
        if self._reason == "engine_closed":
            raise unavailable(self._reason)
        self._reason = "engine_starting"
        try:
            await self._release()
            child = self._child = await _Child.spawn(self._config, self._command)
            if self.unready() != "engine_starting":
                raise unavailable(self.unready())
            loop = asyncio.get_running_loop()
            _, self._link = await loop.create_unix_connection(Link, child.path)
            await self._link.ready
        except BaseException:
            await self._release()
            if self.unready() != "engine_closed":
                self._reason = "engine_dead"
            raise
        self._reason = None

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[TokenChunk]:
        """See `Engine.generate`. Chunks that wait for a slow reader reach it merged."""
        reason, link = self.unready(), self._link
        if reason is not None or link is None:
            raise unavailable(reason)
        id, inbox = link.submit(prompt, sampling)
        n_unfinished = sampling.n
        try:
            while n_unfinished:
                for chunk in await inbox.take():
                    n_unfinished -= chunk.finish is not None
                    yield chunk
        finally:
            link.close(id, finished=not n_unfinished)

    async def aclose(self) -> None:
        """End the process and all generations."""
        self._reason = "engine_closed"
        await self._release()

    async def _release(self) -> None:
        link, self._link = self._link, None
        child, self._child = self._child, None
        if link:
            link.abandon()
        if child:
            await child.aclose()


@dataclass(frozen=True, slots=True)
class _Child:
    """A worker's process and the private directory of its socket."""

    process: Process
    path: str

    @classmethod
    async def spawn(cls, config: WorkerConfig, command: Sequence[str]) -> "_Child":
        """The socket listens before the process begins: connecting never has to be tried twice."""
        path, listener = await asyncio.to_thread(_listen)
        try:
            with listener:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    str(listener.fileno()),
                    stdin=PIPE,
                    stdout=_STDERR,
                    env=_ALLOCATOR | {name: os.environ[name] for name in _INHERITED if name in os.environ},
                    pass_fds=(listener.fileno(),),
                    start_new_session=True,  # an interrupt in the terminal is the service's to decide on
                )
        except BaseException:
            _remove(path)
            raise
        assert process.stdin is not None
        process.stdin.write(pack(Start(config)))
        return cls(process, path)

    async def aclose(self) -> None:
        with suppress(ProcessLookupError):
            self.process.terminate()
        try:
            await asyncio.wait_for(self.process.wait(), TERMINATION_S)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()
        await asyncio.to_thread(_remove, self.path)


def _listen() -> tuple[str, socket.socket]:
    """A listening socket in a new directory that only this user may enter."""
    path = str(Path(tempfile.mkdtemp(prefix="tessera-")) / "engine")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    return path, listener


def _remove(path: str) -> None:
    shutil.rmtree(Path(path).parent, ignore_errors=True)
