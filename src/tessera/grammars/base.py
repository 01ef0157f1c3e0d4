"""The protocol of what builds and tries grammars, and validates replies."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from tessera.core.chat import ChatRequest, JsonObject
from tessera.core.generation import Grammar


class FinishedPart(NamedTuple):
    """A finished part of a reply: its name in messages, the schema it must fit, and its JSON text."""

    what: str
    schema: JsonObject | bool
    text: str


class Grammars(Protocol):
    """Builds and tries the grammars of replies, and validates what was written."""

    async def start(self) -> None:
        """Makes ready what the first request would wait for; optional. Raises `StartupError`."""
        ...

    async def grammar(self, request: ChatRequest) -> Grammar | None:
        """The grammar of the reply to a request; None if it may be any text.

        Raises `InvalidSchema` and `EngineOverloaded`.
        """
        ...

    async def validate(self, parts: Sequence[FinishedPart]) -> None:
        """Raises `GenerationFailed` for a part that does not fit its schema, `GrammarFailed` if validation
        costs too much, and `EngineOverloaded`.
        """
        ...

    async def aclose(self) -> None:
        """Ends its processes."""
        ...
