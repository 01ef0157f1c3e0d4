"""API processes, as their parent sees them: each has its own socket and is restarted when it dies or hangs.

The parent keeps the sockets: connections to a process that has died wait for the one that follows it.
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
from tessera.observe.exposition import forget
from tessera.observe.logs import log
from tessera.processes import children
from tessera.processes.supervision import Pauses, wait_for_answer
from tessera.server.api import BEAT_S, READY, ApiPlan, pack
from tessera.server.control import ControlChannel, RequestsOfProcesses
from tessera.server.sockets import listen

_logger = logging.getLogger(__name__)

COMMAND = children.command("tessera.server.api")
LAST_DELAY_S = 10.0
# How long a process may take beyond the times of the drain before it is killed.
SLACK_S = 5.0
_PIPE_BYTES = 2**16
_OUR_OWN = ("NOTIFY_SOCKET", "PROMETHEUS_MULTIPROC_DIR")


class Workers:
    """As many API processes as there are sockets: together a `Front`."""

    def __init__(
        self, plan: ApiPlan, listeners: Sequence[socket.socket], metrics_directory: Path | None = None
    ) -> None:
        """Nothing runs before `run`. prometheus_client keeps their metrics in `metrics_directory`."""
        self._plan = pack(plan)
        self._n_looks = math.ceil(plan.settings.worker_hang_s / BEAT_S)
        self._drain_s = plan.settings.drain_delay_s + plan.settings.shutdown_grace_s
        self._listeners = listeners
        self._metrics_directory = metrics_directory
        self._environment = _environment(metrics_directory)
        self._running: set[Process] = set()
        self._controls: set[ControlChannel] = set()
        self.requests = RequestsOfProcesses(self._controls)
        self._leaving = asyncio.Event()

    async def run(self, started: Callable[[], None]) -> None:
        """Serves until the shutdown has finished; calls `started` once all processes can answer.

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
        self._leave()
        for process in self._running:
            with suppress(ProcessLookupError):
                process.terminate()
        asyncio.get_running_loop().call_later(self._drain_s + SLACK_S, self._kill)

    def end(self) -> None:
        self._leave()
        for process in self._running:
            _cut_lifeline(process)
        asyncio.get_running_loop().call_later(SLACK_S, self._kill)

    def _leave(self) -> None:
        """Closes the sockets, so that new connections go to other servers, and restarts no process."""
        self._leaving.set()
        for listener in self._listeners:
            listener.close()

    async def _keep(self, listener: socket.socket, ready: asyncio.Event) -> None:
        """Runs one process after another on the same socket."""
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
        """Runs a process, which is in `_running` meanwhile; returns its exit code."""
        if self._metrics_directory:  # /tmp may have been cleared
            self._metrics_directory.mkdir(mode=0o700, exist_ok=True)
        fd = listener.fileno()
        ours, theirs = socket.socketpair()
        with theirs:
            fds = (fd, theirs.fileno())
            process = await children.start((*COMMAND, *map(str, fds)), self._environment, pass_fds=fds)
        assert process.stdout is not None
        control = await ControlChannel.open(ours)
        self._controls.add(control)
        self._running.add(process)
        try:
            with suppress(OSError):  # it has died already: its exit code says more
                await children.send(process, self._plan)
            if self._leaving.is_set():  # the shutdown began while this process was being started
                _cut_lifeline(process)
            await self._watch(process, process.stdout, ready)
            return await process.wait()
        finally:
            await children.kill(process)
            self._running.discard(process)
            self._controls.discard(control)
            control.close()
            if self._metrics_directory:
                forget(process.pid, self._metrics_directory)

    async def _watch(self, process: Process, signs: asyncio.StreamReader, ready: asyncio.Event) -> None:
        """Returns when the process has ended, or was killed because its heartbeat stopped."""
        read = partial(signs.read, _PIPE_BYTES)
        received = await read()  # its imports may take longer than a hang is allowed to
        with suppress(TimeoutError):
            while received:
                if READY in received:
                    ready.set()
                received = await wait_for_answer(read, self._n_looks, BEAT_S)
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
    """Our own, without the settings, which are in the plan."""
    return children.without_secrets(*_OUR_OWN) | (
        {"PROMETHEUS_MULTIPROC_DIR": str(metrics_directory)} if metrics_directory else {}
    )


def _cut_lifeline(process: Process) -> None:
    assert process.stdin is not None
    process.stdin.close()
