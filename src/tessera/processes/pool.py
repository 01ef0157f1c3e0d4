"""Questions for processes that can be killed: a thread could not be stopped.

A pool belongs to one event loop. Its processes are started when they are needed, kept for the next question,
and started anew after one of them was killed.
"""

import asyncio
import contextlib
import logging
import signal
from asyncio.subprocess import Process

from tessera.errors import EngineOverloaded, StartupError
from tessera.observe.logs import log
from tessera.processes import children
from tessera.processes.answering import TOO_MUCH_CODE
from tessera.processes.frames import frame, receive_frame
from tessera.processes.sharing import FairPool

_logger = logging.getLogger(__name__)
# The exit codes of a process that exceeds its limits. A library whose allocation fails aborts; one that
# recurses too deeply overflows its stack.
OVER_LIMITS = frozenset({-signal.SIGPROF, -signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS, TOO_MUCH_CODE})


class TooMuch(Exception):
    """The question exceeds the limits of its process, and would again."""


class ProcessPool:
    """Processes that run one module, which calls `answering.serve`."""

    def __init__(
        self,
        module: str,
        setup: bytes,
        *,
        purpose: str,
        n_processes: int = 2,
        wait_s: float = 5.0,
        deadline_s: float = 30.0,
    ) -> None:
        """`purpose` completes "too many requests wait for …" in messages.

        A question waits at most `wait_s` for a process. What it may cost is bounded in processor time, by the
        child; `deadline_s` is for a machine that is too busy.
        """
        self._purpose = purpose
        self._processes = [_Answering(module, setup) for _ in range(n_processes)]
        self._shared = FairPool(self._processes)
        self._wait_s, self._deadline_s = wait_s, deadline_s
        self._closed = False

    async def start(self) -> None:
        """Has one process ready, so that no request waits for its start; raises `StartupError`."""
        async with self._shared.lend(None) as process:
            try:
                await process.start()
            except (OSError, asyncio.IncompleteReadError) as error:
                code = await process.kill(after_s=1.0)  # how it ends by itself is worth knowing
                how = str(error) if code is None else children.ending(code)
                raise StartupError(f"The process for {self._purpose} cannot work: it {how}.") from error
            except BaseException:
                await process.kill()
                raise

    async def ask(self, question: bytes, account: bytes | None = None) -> bytes:
        """The answer to a question of an account; accounts take turns.

        Raises `TooMuch` if the question exceeds the limits. Raises `EngineOverloaded` while others keep all
        processes busy, and if the process ended for any other reason: that says nothing of the question.
        """
        try:
            async with self._shared.lend(account, self._wait_s) as process:
                if self._closed:
                    raise self._busy()
                return await self._answer(process, question)
        except TimeoutError:
            raise self._busy() from None

    async def _answer(self, process: "_Answering", question: bytes) -> bytes:
        try:
            return await asyncio.wait_for(process.ask(question), self._deadline_s)
        except TimeoutError:
            await process.kill()
            raise self._busy() from None
        except (OSError, asyncio.IncompleteReadError):
            was_ready = process.ready
            code = await process.kill()
            if code is not None and not self._closed:
                log(_logger, "warning", "child process ended", purpose=self._purpose, exit_code=code)
            if was_ready and code in OVER_LIMITS:
                raise TooMuch from None
            raise self._busy() from None
        except BaseException:  # cancelled: the answer that is still to come must not reach the next question
            await process.kill()
            raise

    async def aclose(self) -> None:
        """Ends the processes. Questions that wait for an answer raise `EngineOverloaded`."""
        self._closed = True
        for process in self._processes:
            await process.kill()

    def _busy(self) -> EngineOverloaded:
        return EngineOverloaded(f"Too many requests wait for {self._purpose}: try again.", retry_after_s=1)


class _Answering:
    """One process, restarted after it was killed."""

    def __init__(self, module: str, setup: bytes) -> None:
        self._command = children.command(module)
        self._environment = children.chosen()
        self._setup = setup
        self._process: Process | None = None
        self.ready = False

    async def start(self) -> None:
        self._process = await children.start(self._command, self._environment)
        await self._exchange(self._process, self._setup)
        self.ready = True

    async def ask(self, question: bytes) -> bytes:
        if self._process is None:
            await self.start()
        assert self._process is not None
        return await self._exchange(self._process, question)

    async def _exchange(self, process: Process, payload: bytes) -> bytes:
        assert process.stdout is not None
        await children.send(process, frame(payload))
        return await receive_frame(process.stdout)

    async def kill(self, after_s: float = 0.0) -> int | None:
        """Ends the process unless it ends by itself within `after_s`; returns its exit code, negative for a
        signal.
        """
        process, self._process = self._process, None
        self.ready = False
        if process is None:
            return None
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), after_s)
        return await children.kill(process)
