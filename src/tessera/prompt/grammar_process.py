"""The process that works on clients' schemas: `python -m tessera.prompt.grammar_process`.

It reads frames (four bytes of length, then JSON) from its standard input and answers each with one. The first
frame is a `Setup`, every other a `Question`, and every reply an `Answer`.

Each attempt at a grammar is made in a fork of this process, which is limited in memory and processor time:
llguidance cannot be interrupted, and its limits bound only part of what a hostile pattern costs. What this
process itself does is limited in the same way; it is then started anew. Processor time, not the clock, so
that a verdict depends on the schema and not on what else runs.
"""

import os
import resource
import signal
import struct
import sys
from typing import Any, BinaryIO

import msgspec

from tessera.core.chat import (
    AnswerFormat,
    AnyJsonObject,
    ChatRequest,
    FreeText,
    JsonSchema,
    Mode,
    Tool,
    ToolChoice,
)
from tessera.core.generation import Grammar
from tessera.errors import InvalidSchema
from tessera.parsing.syntax import Syntax
from tessera.prompt.ladder import admitted_grammar
from tessera.text.grammar_trial import Trial

TOO_MUCH = "it takes too much time or memory to compile"
LENGTH = struct.Struct(">I")
_MEMORY_BYTES = 2 * 2**30
_ATTEMPT_S = 1.0
_ALL_ATTEMPTS_S = 4.0
QUESTION_S = 5.0
"""Processor time for one question, attempts not counted."""


class Setup(msgspec.Struct):
    """What one model's grammars have in common."""

    vocabulary_size: int
    control_tokens: dict[str, int]
    syntax: Syntax


class Question(msgspec.Struct):
    """The parts of a `ChatRequest` that its grammar depends on."""

    tools: list[tuple[str, dict[str, Any], bool]]
    tool_choice: ToolChoice
    one_call: bool
    thinking: bool
    any_object: bool
    answer: tuple[dict[str, Any] | bool, bool] | None

    def request(self) -> ChatRequest:
        """A request with the same grammar."""
        form: AnswerFormat = AnyJsonObject() if self.any_object else FreeText()
        if self.answer is not None:
            form = JsonSchema("answer", *self.answer)
        return ChatRequest(
            messages=(),
            mode=Mode.THINKING if self.thinking else Mode.DIRECT,
            tools=tuple(Tool(name, parameters, {}, strict) for name, parameters, strict in self.tools),
            tool_choice=self.tool_choice,
            parallel_tool_calls=not self.one_call,
            answer_format=form,
        )


def question(request: ChatRequest) -> Question:
    """What is to be asked for a request's grammar."""
    form = request.answer_format
    return Question(
        tools=[(tool.name, dict(tool.parameters), tool.strict) for tool in request.tools],
        tool_choice=request.tool_choice,
        one_call=request.one_call,
        thinking=request.mode is Mode.THINKING,
        any_object=isinstance(form, AnyJsonObject),
        answer=(form.schema if isinstance(form.schema, bool) else dict(form.schema), form.strict)
        if isinstance(form, JsonSchema)
        else None,
    )


class Answer(msgspec.Struct):
    """The grammar, or why there can be none; neither if anything may be said."""

    lark: str | None = None
    problem: str | None = None
    param: str | None = None


class Attempts:
    """Tries the grammars of one question, within a common limit."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._begun_s = _children_s()

    @property
    def used_s(self) -> float:
        """The processor time of all attempts."""
        return _children_s() - self._begun_s

    def attempt(self, grammar: Grammar) -> str | None:
        """Why the grammar cannot be used; None if it can."""
        if self.used_s > _ALL_ATTEMPTS_S:
            return TOO_MUCH
        read, write = os.pipe()
        if not (child := os.fork()):
            os.close(read)
            self._in_child(grammar.lark, write)
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            said = pipe.read()
        _, status = os.waitpid(child, 0)
        if not os.WIFEXITED(status) or os.WEXITSTATUS(status):
            return TOO_MUCH
        return said.decode() or None

    def _in_child(self, lark: str, write: int) -> None:
        code = 1
        try:
            signal.setitimer(signal.ITIMER_PROF, _ATTEMPT_S)
            os.write(write, (self._trial.problem(lark) or "").encode())
            code = 0
        finally:
            os._exit(code)


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _answer(setup: Setup, asked: Question, trial: Trial) -> Answer:
    attempts = Attempts(trial)
    signal.setitimer(signal.ITIMER_PROF, QUESTION_S)
    try:
        grammar = admitted_grammar(asked.request(), setup.syntax, setup.control_tokens, attempts.attempt)
    except InvalidSchema as error:
        return Answer(problem=error.message, param=error.param)
    except RecursionError:
        return Answer(problem="The schema cannot be enforced: at #: it is nested too deeply.", param=None)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return Answer(lark=grammar.lark if grammar else None)


def _read_frame(stream: BinaryIO) -> bytes | None:
    head = stream.read(LENGTH.size)
    return stream.read(LENGTH.unpack(head)[0]) if len(head) == LENGTH.size else None


def main() -> None:
    """Answers until the input ends."""
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    setup = msgspec.json.decode(_read_frame(sys.stdin.buffer) or b"", type=Setup)
    trial = Trial(setup.vocabulary_size, setup.control_tokens)
    questions = msgspec.json.Decoder(Question)
    while (asked := _read_frame(sys.stdin.buffer)) is not None:
        answer = msgspec.json.encode(_answer(setup, questions.decode(asked), trial))
        sys.stdout.buffer.write(LENGTH.pack(len(answer)) + answer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
