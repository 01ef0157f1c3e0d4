"""What builds, tries and checks grammars, as the rest of the service sees it."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from tessera.core.chat import ChatRequest, JsonObject
from tessera.core.generation import Grammar


class FinishedPart(NamedTuple):
    """A part of a reply that has ended: its JSON text, the schema it must fit, and its name in messages."""

    what: str
    schema: JsonObject | bool
    text: str


class Grammars(Protocol):
    """Works on clients' schemas: builds and tries the grammars of replies, and validates what was written."""

    async def start(self) -> None:
        """Has all that is needed ready; calling it is optional. Raises `StartupError`."""
        ...

    async def grammar(self, request: ChatRequest) -> Grammar | None:
        """The grammar of the reply to a request; None if anything may be said.

        Raises `InvalidSchema` and `EngineOverloaded`.
        """
        ...

    async def validate(self, parts: Sequence[FinishedPart]) -> None:
        """Raises `GenerationFailed` for a part that breaks its schema, `GrammarFailed` where finding that
        out costs too much, and `EngineOverloaded`.
        """
        ...

    async def aclose(self) -> None:
        """End its processes."""
        ...
