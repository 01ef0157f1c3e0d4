"""The process that builds grammars and tries them: `python -m tessera.grammars.process`.

Each attempt is made in a fork of this process, with bounded memory and processor time: llguidance cannot be
interrupted, and its own limits bound only part of what a hostile pattern costs. This process itself is
bounded in the same way; the pool starts a new one when it exceeds its limits.
"""

import os
import resource
import signal
from collections.abc import Callable

import msgspec

from tessera.core.generation import Grammar
from tessera.errors import InvalidSchema
from tessera.grammars.question import (
    NESTED_TOO_DEEPLY,
    TOO_MUCH,
    GrammarAnswer,
    GrammarQuestion,
    GrammarSetup,
)
from tessera.grammars.relaxation import usable_grammar
from tessera.grammars.trial import Trial
from tessera.grammars.turn import schemas_of
from tessera.processes import answering
from tessera.processes.pool import OVER_LIMITS
from tessera.schemas.bounds import SchemaProblem
from tessera.schemas.references import AnySchema
from tessera.schemas.validation import Validator

_MEMORY_BYTES = 2 * 2**30
_ATTEMPT_S = 1.0
_ALL_ATTEMPTS_S = 4.0
_SAMPLES = ("{}", "[]", '""', "0")
_QUESTION_S = 20.0
"""Processor time for one question, without its attempts: several times that of the most steps, whose number
normally decides (`relaxation`).
"""


class Attempts:
    """Tries what one question needs. All attempts share one limit of processor time."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._begun_s = _children_s()

    @property
    def used_s(self) -> float:
        """The processor time of all attempts so far."""
        return _children_s() - self._begun_s

    def attempt(self, grammar: Grammar) -> str | None:
        """Why the grammar cannot be used; None if it can."""
        return self._try(lambda: self._trial.problem(grammar.lark))

    def validation(self, schema: AnySchema) -> str | None:
        """Why values cannot be validated by the schema; None if they can. References that fan out, for
        example, cost a validator exponential time.
        """

        def validate_samples() -> None:
            validator = Validator(schema)
            for sample in _SAMPLES:
                validator.validate(sample)

        return self._try(validate_samples)

    def _try(self, work: Callable[[], str | None]) -> str | None:
        """Returns what `work` returns. Raises `OSError` if the attempt could not be made or was killed from
        outside, which is no verdict on the schema.
        """
        if self.used_s > _ALL_ATTEMPTS_S:
            return TOO_MUCH
        read, write = os.pipe()
        if not (child := os.fork()):
            os.close(read)
            _in_child(work, write)
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            said = pipe.read()
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code < 0 and code not in OVER_LIMITS:
            raise ChildProcessError(f"an attempt was ended by signal {-code}")
        return TOO_MUCH if code else said.decode() or None


def _in_child(work: Callable[[], str | None], write: int) -> None:
    code = 1
    try:
        signal.setitimer(signal.ITIMER_PROF, _ATTEMPT_S)
        os.write(write, (work() or "").encode())
        code = 0
    finally:
        os._exit(code)


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _answer(setup: GrammarSetup, asked: GrammarQuestion, trial: Trial) -> GrammarAnswer:
    attempts = Attempts(trial)
    request = asked.request()
    try:
        grammar = usable_grammar(request, setup.syntax, setup.control_tokens, attempt=attempts.attempt)
        validations = Attempts(trial)
        for param, schema in schemas_of(request):
            if problem := validations.validation(schema):
                raise SchemaProblem("", problem).refusal(param)
    except InvalidSchema as error:
        return GrammarAnswer(problem=error.message, param=error.param)
    except RecursionError:
        return GrammarAnswer(problem=NESTED_TOO_DEEPLY.refusal(None).message)
    return GrammarAnswer(lark=grammar.lark if grammar else None)


def _prepare(payload: bytes) -> answering.Answerer:
    setup = msgspec.json.decode(payload, type=GrammarSetup)
    trial = Trial(setup.vocabulary_size, setup.control_tokens, setup.limits)
    questions = msgspec.json.Decoder(GrammarQuestion)
    return lambda asked: msgspec.json.encode(_answer(setup, questions.decode(asked), trial))


if __name__ == "__main__":
    answering.serve(_prepare, memory_bytes=_MEMORY_BYTES, processor_s=_QUESTION_S)
