"""Work on schemas without processes of its own, for tests whose schemas are harmless."""

from collections.abc import Mapping, Sequence

from tessera.core.chat import ChatRequest
from tessera.core.generation import Grammar
from tessera.formats.base import ChatFormat
from tessera.grammars.base import FinishedPart
from tessera.grammars.turn import build_grammar
from tessera.schemas.validation import Validator


class InProcess:
    """Builds grammars and validates replies in this process. Grammars are not tried."""

    def __init__(self, chat_format: ChatFormat, control_tokens: Mapping[str, int]) -> None:
        self._syntax, self._control_tokens = chat_format.syntax, control_tokens

    async def start(self) -> None:
        pass

    async def grammar(self, request: ChatRequest, account: bytes | None = None) -> Grammar | None:
        return build_grammar(request, self._syntax, self._control_tokens)

    async def validate(self, parts: Sequence[FinishedPart], account: bytes | None = None) -> None:
        for part in parts:
            if problem := Validator(part.schema).validate(part.text):
                raise part.misfit(problem)

    async def aclose(self) -> None:
        pass
