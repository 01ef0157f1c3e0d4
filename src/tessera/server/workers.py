"""API processes as their parent sees them: each has a socket of its own, and is started again if it dies or
hangs.

The parent keeps the sockets: what arrives for a process that is dead waits for the one that follows it.
"""

import asyncio
import logging
import math
import socket
import time
from asyncio.subprocess import Process
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from tessera.errors import StartupError
from tessera.observe.logs import log
from tessera.observe.metrics import forget
from tessera.processes import children
from tessera.processes.supervision import Pauses, patiently
from tessera.server.api import BEAT_S, ApiPlan, pack
from tessera.server.sockets import listen

_logger = logging.getLogger(__name__)

COMMAND = children.command("tessera.server.api")
LAST_DELAY_S = 10.0
# What a process may take beyond the drain's own times before it is killed.
SLACK_S = 5.0
_PIPE_BYTES = 2**16
_OUR_OWN = ("NOTIFY_SOCKET", "PROMETHEUS_MULTIPROC_DIR")


class Workers:
    """As many API processes as there are sockets."""

    def __init__(
        self, plan: ApiPlan, listeners: Sequence[socket.socket], metrics_directory: Path | None = None
    ) -> None:
        """Nothing runs before `run`. `metrics_directory` is where prometheus_client keeps their metrics."""
        self._plan = pack(plan)
        self._n_looks = math.ceil(plan.settings.worker_hang_s / BEAT_S)
        self._drain_s = plan.settings.drain_delay_s + plan.settings.shutdown_grace_s
        self._listeners = listeners
        self._metrics_directory = metrics_directory
        self._environment = _environment(metrics_directory)
        self._running: set[Process] = set()
        self._leaving = asyncio.Event()

    async def run(self, started: Callable[[], None]) -> None:
        """Until the way down has been gone; `started` is called when tokens flow in all of them.

        Raises `StartupError` if one ends before it was ever ready.
        """
        for listener in self._listeners:
            listen(listener)
        ready = [asyncio.Event() for _ in self._listeners]
        pairs = zip(self._listeners, ready, strict=True)
        tasks = [asyncio.create_task(self._keep(*pair)) for pair in pairs]
        announcing = asyncio.create_task(_announce(ready, started))
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in (announcing, *tasks):
                task.cancel()
            await asyncio.gather(announcing, *tasks, return_exceptions=True)

    def drain(self) -> None:
        """Begin the way down in all of them."""
        self._leave()
        for process in self._running:
            with suppress(ProcessLookupError):
                process.terminate()
        asyncio.get_running_loop().call_later(self._drain_s + SLACK_S, self._kill)

    def end(self) -> None:
        """Go it at once."""
        self._leave()
        for process in self._running:
            _cut_lifeline(process)
        asyncio.get_running_loop().call_later(SLACK_S, self._kill)

    def _leave(self) -> None:
        """Nobody follows those that run: what connects to one that has ended goes to another."""
        self._leaving.set()
        for listener in self._listeners:
            listener.close()

    async def _keep(self, listener: socket.socket, ready: asyncio.Event) -> None:
        """One process after the other on the same socket."""
        pauses = Pauses(LAST_DELAY_S)
        with listener:
            while not self._leaving.is_set():
                begun = time.monotonic()
                code = await self._live(listener, ready)
                if self._leaving.is_set():
                    return
                if not ready.is_set():
                    raise StartupError(f"An API process did not start: it ended with {code}.")
                delay_s = pauses.after(time.monotonic() - begun)
                log(_logger, "error", "api process died", exit_code=code, restart_in_s=delay_s)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._leaving.wait(), delay_s)

    async def _live(self, listener: socket.socket, ready: asyncio.Event) -> int:
        """The exit code of one process, which is in `_running` until then."""
        if self._metrics_directory:  # somebody may have cleared /tmp
            self._metrics_directory.mkdir(mode=0o700, exist_ok=True)
        fd = listener.fileno()
        process = await children.start((*COMMAND, str(fd)), self._environment, pass_fds=(fd,))
        assert process.stdout is not None
        self._running.add(process)
        try:
            with suppress(BrokenPipeError):  # it has ended, which `wait` will report
                children.write(process, self._plan)
            if self._leaving.is_set():  # it came while this one was being started
                _cut_lifeline(process)
            if await process.stdout.read(1):
                ready.set()
                await self._watch(process, process.stdout)
            return await process.wait()
        except BaseException:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise
        finally:
            self._running.discard(process)
            if self._metrics_directory:
                forget(process.pid, self._metrics_directory)

    async def _watch(self, process: Process, beats: asyncio.StreamReader) -> None:
        """Until it ends, or has been silent for too long and is killed."""
        with suppress(TimeoutError):
            while await patiently(partial(beats.read, _PIPE_BYTES), self._n_looks, BEAT_S):
                pass
            return
        log(_logger, "error", "api process hangs, killed", pid=process.pid)
        with suppress(ProcessLookupError):
            process.kill()

    def _kill(self) -> None:
        for process in self._running:
            log(_logger, "error", "api process does not end, killed", pid=process.pid)
            with suppress(ProcessLookupError):
                process.kill()


async def _announce(ready: Sequence[asyncio.Event], started: Callable[[], None]) -> None:
    for each in ready:
        await each.wait()
    started()


def _environment(metrics_directory: Path | None) -> dict[str, str]:
    """Ours, without the settings: the plan says it all."""
    return children.without_secrets(*_OUR_OWN) | (
        {"PROMETHEUS_MULTIPROC_DIR": str(metrics_directory)} if metrics_directory else {}
    )


def _cut_lifeline(process: Process) -> None:
    assert process.stdin is not None
    process.stdin.close()
