"""Grammars are built and tried in processes that can be killed, before a request is admitted.

A thread could not be: there are schemas of a hundred bytes over which a compiler computes for minutes. The
processes have no secrets in their environment, bounded memory, and bounded processor time for every request.
"""

import asyncio
import contextlib
import hashlib
import signal
import sys
from collections import OrderedDict
from collections.abc import Mapping

import msgspec

from tessera.core.chat import ChatRequest, ToolChoice
from tessera.core.generation import Grammar
from tessera.errors import EngineOverloaded, InvalidSchema
from tessera.parsing.syntax import Syntax
from tessera.prompt.grammar_process import LENGTH, TOO_MUCH, Answer, Question, Setup, question

_KEPT_BYTES = 4 * 2**20
_ANSWERS = msgspec.json.Decoder(Answer)


class GrammarCheck:
    """The processes that build and try the grammars of one model, started by `start` or when first needed."""

    def __init__(
        self,
        control_tokens: Mapping[str, int],
        vocabulary_size: int,
        syntax: Syntax,
        *,
        deadline_s: float = 30.0,
        wait_s: float = 5.0,
        n_processes: int = 2,
    ) -> None:
        """A request waits at most `wait_s` for a process. `deadline_s` is for a machine that is too busy:
        what a schema may cost is bounded in processor time.
        """
        setup = msgspec.json.encode(Setup(vocabulary_size, dict(control_tokens), syntax))
        self._idle: asyncio.LifoQueue[_Process] = asyncio.LifoQueue()
        self._processes = [_Process(setup) for _ in range(n_processes)]
        for process in self._processes:
            self._idle.put_nowait(process)
        self._deadline_s, self._wait_s = deadline_s, wait_s
        self._kept: OrderedDict[bytes, Answer] = OrderedDict()
        self._kept_bytes = 0

    async def start(self) -> None:
        """Have a process ready, so that no request waits the tenth of a second that its start takes."""
        await self.grammar(_FIRST.request())

    async def grammar(self, request: ChatRequest) -> Grammar | None:
        """The grammar of the reply; None if anything may be said.

        Raises `InvalidSchema`, naming the parameter, for schemas that cannot be enforced, and
        `EngineOverloaded` while others keep all processes busy.
        """
        try:
            asked = msgspec.json.encode(question(request))
        except RecursionError:
            raise InvalidSchema("The schema cannot be enforced: at #: it is nested too deeply.") from None
        key = hashlib.sha256(asked).digest()
        answer = self._kept.get(key)
        if answer is None:
            answer = await self._ask(asked)
            self._keep(key, answer)
        else:
            self._kept.move_to_end(key)
        if answer.problem is not None:
            raise InvalidSchema(answer.problem, param=answer.param)
        return Grammar(answer.lark) if answer.lark is not None else None

    def _keep(self, key: bytes, answer: Answer) -> None:
        self._kept[key] = answer
        self._kept_bytes += _size(answer)
        while self._kept_bytes > _KEPT_BYTES:
            self._kept_bytes -= _size(self._kept.popitem(last=False)[1])

    async def _ask(self, asked: bytes) -> Answer:
        try:
            process = await asyncio.wait_for(self._idle.get(), self._wait_s)
        except TimeoutError:
            raise _busy() from None
        try:
            return _ANSWERS.decode(await asyncio.wait_for(process.ask(asked), self._deadline_s))
        except TimeoutError:
            await process.kill()
            raise _busy() from None
        except (OSError, asyncio.IncompleteReadError):
            if await process.kill() == -signal.SIGPROF:
                return Answer(problem=f"The schema cannot be enforced: at #: {TOO_MUCH}.")
            raise _busy() from None
        except BaseException:  # cancelled: an answer is still to come, and not for the next one
            await process.kill()
            raise
        finally:
            self._idle.put_nowait(process)

    async def aclose(self) -> None:
        """End the processes."""
        for process in self._processes:
            await process.kill()


class _Process:
    """One process, restarted after it was killed."""

    def __init__(self, setup: bytes) -> None:
        self._setup = setup
        self._process: asyncio.subprocess.Process | None = None

    async def ask(self, asked: bytes) -> bytes:
        process = self._process or await self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(LENGTH.pack(len(asked)) + asked)
        await process.stdin.drain()
        length = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))[0]
        return await process.stdout.readexactly(length)

    async def _start(self) -> asyncio.subprocess.Process:
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # nothing is imported from the folder that the server was started in
            "-m",
            "tessera.prompt.grammar_process",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={},
            start_new_session=True,  # an interrupt in the terminal is the service's to decide on
        )
        assert process.stdin is not None
        process.stdin.write(LENGTH.pack(len(self._setup)) + self._setup)
        return process

    async def kill(self) -> int | None:
        """Ends the process; returns its exit status, negative for the signal that ended it."""
        process, self._process = self._process, None
        if process is None:
            return None
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        return await process.wait()


_FIRST = Question([], ToolChoice(), one_call=False, thinking=False, any_object=True, answer=None)


def _size(answer: Answer) -> int:
    return len(answer.lark or "") + len(answer.problem or "") + 200


def _busy() -> EngineOverloaded:
    return EngineOverloaded("Too many schemas are being checked: try again.", retry_after_s=1)
