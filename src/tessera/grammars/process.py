"""The process that builds grammars and tries them: `python -m tessera.grammars.process`.

Each attempt at a grammar is made in a fork of this process, which is limited in memory and processor time:
llguidance cannot be interrupted, and its limits bound only part of what a hostile pattern costs. What this
process itself does is limited in the same way; it is then started anew.
"""

import os
import resource
import signal
from collections.abc import Callable

import msgspec

from tessera.core.generation import Grammar
from tessera.errors import InvalidSchema
from tessera.grammars.ladder import admitted_grammar
from tessera.grammars.question import TOO_MUCH, Answer, Question, Setup
from tessera.grammars.trial import Trial
from tessera.grammars.turn import schemas_of
from tessera.processes import answering
from tessera.schemas.references import AnySchema
from tessera.schemas.validation import Validator

_MEMORY_BYTES = 2 * 2**30
_ATTEMPT_S = 1.0
_ALL_ATTEMPTS_S = 4.0
_SAMPLES = ("{}", "[]", '""', "0")
_QUESTION_S = 20.0
"""Processor time for one question, attempts not counted: several times what the most steps take, which decide
(`prompt.ladder`).
"""


class Attempts:
    """Tries what one question needs, within a common limit."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._begun_s = _children_s()

    @property
    def used_s(self) -> float:
        """The processor time of all attempts."""
        return _children_s() - self._begun_s

    def attempt(self, grammar: Grammar) -> str | None:
        """Why the grammar cannot be used; None if it can."""
        return self._try(lambda: self._trial.problem(grammar.lark))

    def validation(self, schema: AnySchema) -> str | None:
        """Why values cannot be validated by the schema; None if they can. References that fan out, say, take
        validators exponential time.
        """

        def validate_samples() -> None:
            validator = Validator(schema)
            for sample in _SAMPLES:
                validator.validate(sample)

        return self._try(validate_samples)

    def _try(self, work: Callable[[], str | None]) -> str | None:
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
        if not os.WIFEXITED(status) or os.WEXITSTATUS(status):
            return TOO_MUCH
        return said.decode() or None


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


def _answer(setup: Setup, asked: Question, trial: Trial) -> Answer:
    attempts = Attempts(trial)
    request = asked.request()
    try:
        grammar = admitted_grammar(request, setup.syntax, setup.control_tokens, attempts.attempt)
        validations = Attempts(trial)
        for param, schema in schemas_of(request):
            if problem := validations.validation(schema):
                problem = f"The schema cannot be enforced: at #: {problem}."
                raise InvalidSchema(problem, param=param)
    except InvalidSchema as error:
        return Answer(problem=error.message, param=error.param)
    except RecursionError:
        return Answer(problem="The schema cannot be enforced: at #: it is nested too deeply.", param=None)
    return Answer(lark=grammar.lark if grammar else None)


def _prepare(payload: bytes) -> answering.Answerer:
    setup = msgspec.json.decode(payload, type=Setup)
    trial = Trial(setup.vocabulary_size, setup.control_tokens)
    questions = msgspec.json.Decoder(Question)
    return lambda asked: msgspec.json.encode(_answer(setup, questions.decode(asked), trial))


if __name__ == "__main__":
    answering.serve(_prepare, memory_bytes=_MEMORY_BYTES, processor_s=_QUESTION_S)
