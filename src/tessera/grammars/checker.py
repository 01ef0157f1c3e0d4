"""Builds grammars and validates replies in processes that can be killed.

A thread could not be killed, and a schema of a hundred bytes can keep a compiler busy for minutes. The
processes have no secrets in their environment, bounded memory, and bounded processor time for each question.
Validation has processes of its own, so that replies which end do not wait behind new schemas.
"""

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence

import msgspec

from tessera.core.chat import ChatRequest
from tessera.core.generation import Grammar
from tessera.errors import GrammarFailed, InvalidSchema
from tessera.grammars.base import FinishedPart
from tessera.grammars.question import (
    NESTED_TOO_DEEPLY,
    TOO_MUCH,
    GrammarAnswer,
    GrammarLimits,
    GrammarSetup,
    question,
)
from tessera.parsing.syntax import Syntax
from tessera.processes.pool import ProcessPool, TooMuch
from tessera.schemas.bounds import SchemaProblem
from tessera.schemas.validation_question import Validation, ValidationProblem, Validations

_KEPT_BYTES = 4 * 2**20
_ANSWERS = msgspec.json.Decoder(GrammarAnswer)
_PROBLEMS = msgspec.json.Decoder(ValidationProblem)


class GrammarCheck:
    """`Grammars` by the processes of one model, in which accounts take turns. They are started by `start` or
    when first needed.
    """

    def __init__(
        self,
        control_tokens: Mapping[str, int],
        vocabulary_size: int,
        syntax: Syntax,
        *,
        limits: GrammarLimits = GrammarLimits(),  # noqa: B008 - frozen
        deadline_s: float = 30.0,
        wait_s: float = 5.0,
        n_processes: int = 2,
    ) -> None:
        """`limits` are those of the model's engine. `n_processes` build grammars, and two validate replies.
        `ProcessPool` explains the deadlines.
        """
        setup = msgspec.json.encode(GrammarSetup(vocabulary_size, dict(control_tokens), syntax, limits))
        self._grammars = ProcessPool(
            "tessera.grammars.process",
            setup,
            purpose="the check of their schemas",
            n_processes=n_processes,
            wait_s=wait_s,
            deadline_s=deadline_s,
        )
        self._validators = ProcessPool(
            "tessera.schemas.validation_process",
            b"",
            purpose="the validation of their replies",
            wait_s=deadline_s,
            deadline_s=deadline_s,
        )
        # By account: one could tell from the time what another one has sent.
        self._kept: dict[bytes, OrderedDict[bytes, GrammarAnswer]] = {}
        self._kept_bytes: Counter[bytes] = Counter()

    async def start(self) -> None:
        await self._grammars.start()
        await self._validators.start()

    async def grammar(self, request: ChatRequest, account: bytes | None = None) -> Grammar | None:
        try:
            asked = msgspec.json.encode(question(request))
        except RecursionError:
            raise NESTED_TOO_DEEPLY.refusal(None) from None
        key = hashlib.sha256(asked).digest()
        kept = self._kept.get(account or b"", OrderedDict[bytes, GrammarAnswer]())
        answer = kept.get(key)
        if answer is None:
            try:
                answer = _ANSWERS.decode(await self._grammars.ask(asked, account))
            except TooMuch:
                answer = GrammarAnswer(problem=SchemaProblem("", TOO_MUCH).refusal(None).message)
            self._keep(account or b"", key, answer)
        else:
            kept.move_to_end(key)
        if answer.problem is not None:
            raise InvalidSchema(answer.problem, param=answer.param)
        return Grammar(answer.lark) if answer.lark is not None else None

    def _keep(self, account: bytes, key: bytes, answer: GrammarAnswer) -> None:
        kept = self._kept.setdefault(account, OrderedDict())
        if key in kept:  # a request with the same schemas was answered meanwhile
            return
        kept[key] = answer
        self._kept_bytes[account] += _size(answer)
        while self._kept_bytes.total() > _KEPT_BYTES:
            self._drop_one()

    def _drop_one(self) -> None:
        """Drops the oldest answer of the account that has the most: a flood displaces its own."""
        account, _ = self._kept_bytes.most_common(1)[0]
        _, dropped = self._kept[account].popitem(last=False)
        self._kept_bytes[account] -= _size(dropped)
        if not self._kept[account]:
            del self._kept[account], self._kept_bytes[account]

    async def validate(self, parts: Sequence[FinishedPart], account: bytes | None = None) -> None:
        checks = [Validation(msgspec.Raw(msgspec.json.encode(part.schema)), part.text) for part in parts]
        asked = msgspec.json.encode(Validations(checks))
        try:
            answer = _PROBLEMS.decode(await self._validators.ask(asked, account))
        except TooMuch:
            raise GrammarFailed("The reply could not be validated: its schema takes too much time.") from None
        if answer.problem is not None:
            raise parts[answer.place].misfit(answer.problem)

    async def aclose(self) -> None:
        await self._grammars.aclose()
        await self._validators.aclose()


def _size(answer: GrammarAnswer) -> int:
    return len(answer.lark or "") + len(answer.problem or "") + 200
