"""The final check of a reply: it is not delivered as finished unless it is valid."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from tessera.core.chat import AnyJsonObject, ChatRequest, FreeText, JsonObject, JsonSchema
from tessera.core.events import ChatEvent, Finished, FinishReason, TextDelta, ToolCallDelta, ToolCallStarted
from tessera.grammars.base import FinishedPart, Grammars

_ANY_OBJECT: JsonObject = {"type": "object"}


class ReplyCheck:
    """Follows the events of one reply. A reply under a grammar fails it only if a keyword was relaxed, or if
    the engine does not keep to the grammar.
    """

    def __init__(self, request: ChatRequest, grammars: Grammars | None, account: bytes | None = None) -> None:
        """`grammars` validates what was written; a request without schemas needs none."""
        self._account = account
        self._answer = _answer_schema(request)
        self._is_enforced = not isinstance(form := request.answer_format, JsonSchema) or form.strict
        self._tools = {tool.name: tool for tool in request.tools}
        self._grammars = grammars if request.tools or self._answer is not None else None
        self._texts: dict[int, list[str]] = defaultdict(list)
        self._calls: dict[int, list[tuple[str, list[str]]]] = defaultdict(list)

    @property
    def is_needed(self) -> bool:
        """Whether the request has a schema, of its tools or its answer."""
        return self._grammars is not None

    async def feed(self, events: Iterable[ChatEvent]) -> None:
        """Raises what `Grammars.validate` raises, if a choice has finished and is not valid."""
        if self._grammars is None:
            return
        for event in events:
            match event:
                case TextDelta(choice, text):
                    self._texts[choice].append(text)
                case ToolCallStarted(choice, _, _, name):
                    self._calls[choice].append((name, []))
                case ToolCallDelta(choice, call, arguments):
                    self._calls[choice][call][1].append(arguments)
                case Finished(choice, reason) if reason is not FinishReason.LENGTH:
                    if parts := [*self._written(choice)]:
                        await self._grammars.validate(parts, self._account)
                case _:
                    pass

    def _written(self, choice: int) -> Iterator[FinishedPart]:
        calls = self._calls[choice]
        for name, written in calls:
            tool, what = self._tools[name], f"The arguments of a call to {name}"
            yield FinishedPart(what, tool.parameters, "".join(written), tool.strict)
        if self._answer is not None and not calls:
            yield FinishedPart("The answer", self._answer, "".join(self._texts[choice]), self._is_enforced)


def _answer_schema(request: ChatRequest) -> JsonObject | bool | None:
    match request.answer_format:
        case FreeText():
            return None
        case AnyJsonObject():
            return _ANY_OBJECT
        case JsonSchema(schema=schema):
            return schema
