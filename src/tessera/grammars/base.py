"""The protocol of what builds and tries grammars, and validates replies."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from tessera.core.chat import ChatRequest, JsonObject
from tessera.core.generation import Grammar
from tessera.errors import GenerationFailed, SchemaNotMet


class FinishedPart(NamedTuple):
    """A part of a reply that has ended: its JSON text, the schema it must fit, and its name in messages.

    `enforced` says that the grammar holds every rule of the schema, so that the engine is at fault for a part
    that breaks one.
    """

    what: str
    schema: JsonObject | bool
    text: str
    enforced: bool

    def misfit(self, problem: str) -> GenerationFailed:
        """The error to raise for a part that breaks its schema."""
        said = f"{self.what} did not fit the schema ({problem})."
        if self.enforced:
            return GenerationFailed(f"{said} Send the request again.")
        return SchemaNotMet(
            f"{said} That rule is not enforced while the reply is written: send a schema without it, or say "
            "in a message what it asks for. With strict: true, rules that are not enforced are refused."
        )


class Grammars(Protocol):
    """Builds and tries the grammars of replies, and validates what was written."""

    async def start(self) -> None:
        """Makes ready what the first request would wait for; optional. Raises `StartupError`."""
        ...

    async def grammar(self, request: ChatRequest, account: bytes | None = None) -> Grammar | None:
        """The grammar of the reply to an account's request; None if anything may be said.

        Raises `InvalidSchema`, naming the parameter, for schemas that cannot be enforced, and
        `EngineOverloaded` while others keep all processes busy.
        """
        ...

    async def validate(self, parts: Sequence[FinishedPart], account: bytes | None = None) -> None:
        """Raises the `misfit` of a part that breaks its schema, `GrammarFailed` where finding that out costs
        too much, and `EngineOverloaded`.
        """
        ...

    async def aclose(self) -> None:
        """Ends its processes."""
        ...
