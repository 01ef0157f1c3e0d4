"""Grammars are tried before they are admitted, in a process that can be killed.

A thread could not be: there are schemas of a hundred bytes (patterns that must all hold) over which the
compiler computes for minutes. The process has no secrets in its environment, bounded memory, and a deadline
for every grammar.
"""

import asyncio
import contextlib
import hashlib
import json
import sys
from collections.abc import Mapping

from tessera.core.generation import Grammar
from tessera.errors import EngineOverloaded, InvalidSchema
from tessera.text.grammar_trial import LENGTH

_KEPT_VERDICTS = 4_096  # of at most some 300 bytes each
_TOO_MUCH = "it takes too much time or memory to compile"


class GrammarCheck:
    """The processes that try grammars for one vocabulary, started by `start` or when first needed."""

    def __init__(
        self,
        control_tokens: Mapping[str, int],
        vocabulary_size: int,
        *,
        deadline_s: float = 1.5,
        wait_s: float = 2.0,
        n_processes: int = 2,
    ) -> None:
        """A grammar waits at most `wait_s` for a process, which then has `deadline_s`."""
        vocabulary = {"size": vocabulary_size, "control_tokens": dict(control_tokens)}
        self._idle: asyncio.LifoQueue[_Trial] = asyncio.LifoQueue()
        self._trials = [_Trial(json.dumps(vocabulary)) for _ in range(n_processes)]
        for trial in self._trials:
            self._idle.put_nowait(trial)
        self._deadline_s, self._wait_s = deadline_s, wait_s
        self._verdicts: dict[bytes, str] = {}

    async def start(self) -> None:
        """Have a process ready, so that no request waits the tenth of a second that its start takes."""
        await self._try('start: "a"')

    async def admit(self, grammar: Grammar, *, param: str) -> None:
        """Return if the grammar can be used.

        Raises `InvalidSchema` naming `param` if not, and `EngineOverloaded` while others keep all processes
        busy.
        """
        key = hashlib.sha256(grammar.lark.encode()).digest()
        problem = self._verdicts.get(key)
        if problem is None:
            problem = await self._try(grammar.lark)
            self._keep(key, problem)
        if problem:
            raise InvalidSchema(f"The schema cannot be enforced: at #: {problem}.", param=param)

    def _keep(self, key: bytes, problem: str) -> None:
        # Not the deadline: it says as much about the machine's load as about the grammar.
        if problem != _TOO_MUCH:
            self._verdicts[key] = problem
        while len(self._verdicts) > _KEPT_VERDICTS:
            del self._verdicts[next(iter(self._verdicts))]

    async def _try(self, lark: str) -> str:
        try:
            trial = await asyncio.wait_for(self._idle.get(), self._wait_s)
        except TimeoutError:
            raise EngineOverloaded(
                "Too many schemas are being checked: try again.", retry_after_s=1
            ) from None
        try:
            return await asyncio.wait_for(trial.ask(lark), self._deadline_s)
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            await trial.kill()
            return _TOO_MUCH
        except BaseException:  # cancelled: an answer is still to come, and not for the next one
            await trial.kill()
            raise
        finally:
            self._idle.put_nowait(trial)

    async def aclose(self) -> None:
        """End the processes."""
        for trial in self._trials:
            await trial.kill()


class _Trial:
    """One process, restarted after it was killed."""

    def __init__(self, vocabulary: str) -> None:
        self._vocabulary = vocabulary
        self._process: asyncio.subprocess.Process | None = None

    async def ask(self, lark: str) -> str:
        process = self._process or await self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(_frame(lark))
        await process.stdin.drain()
        length = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))[0]
        return (await process.stdout.readexactly(length)).decode()

    async def _start(self) -> asyncio.subprocess.Process:
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tessera.text.grammar_trial",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={},
            start_new_session=True,  # an interrupt in the terminal is the service's to decide on
        )
        assert process.stdin is not None
        process.stdin.write(_frame(self._vocabulary))
        return process

    async def kill(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _frame(text: str) -> bytes:
    encoded = text.encode()
    return LENGTH.pack(len(encoded)) + encoded
