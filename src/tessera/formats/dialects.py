"""Finds out how a template wants a conversation, by rendering one in every way."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

from tessera.core.chat import (
    AssistantMessage,
    ChatRequest,
    Json,
    SystemMessage,
    Tool,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from tessera.errors import RequestError
from tessera.formats.base import Control
from tessera.formats.conversation import Dialect, TemplateSource
from tessera.formats.template import Template
from tessera.formats.template_families import TEMPLATE_FAMILIES, UNKNOWN
from tessera.formats.written_calls import call_text

_NAME = "greet"
_ARGUMENTS = '{"name": "Ana", "times": 2}'
_DESCRIPTION = "Says hello to a person."
# Templates that print parameters one by one fail without their types and descriptions.
_PARAMETERS: Json = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "description": "Whom to greet."},
        "times": {"type": "integer", "description": "How often."},
    },
    "required": ["name"],
}
_FUNCTION: Json = {"name": _NAME, "description": _DESCRIPTION, "parameters": _PARAMETERS}
_CALL = ChatRequest(
    messages=(
        UserMessage("Hello"),
        AssistantMessage(tool_calls=(ToolCall("call00001", _NAME, _ARGUMENTS),)),
        ToolMessage("done", "call00001"),
    ),
    tools=(Tool(_NAME, {}, {"type": "function", "function": _FUNCTION}),),
)
_INSTRUCTED = ChatRequest(messages=(SystemMessage("Be brief."), UserMessage("Hello")))


def find_dialect(source: TemplateSource) -> Dialect:
    """How the template wants a conversation. It is of the family whose calls it writes."""
    template = Template(source.source)

    def written(request: ChatRequest, dialect: Dialect) -> str:
        conversation = replace(source, dialect=dialect).conversation(request)
        try:
            segments = conversation.segments(template.text(conversation.variables))
        except RequestError:
            return ""
        return "".join(each.token if isinstance(each, Control) else each.text for each in segments)

    for dialect in _dialects():
        text = written(_CALL, dialect)
        family = TEMPLATE_FAMILIES[dialect.family]
        if call_text(family.syntax, _NAME, _ARGUMENTS) in text and family.result.format(_NAME) in text:
            return replace(dialect, prints_tools=_DESCRIPTION in text)
    instructed = bool(written(_INSTRUCTED, Dialect()))
    return Dialect(writes_calls=False, prints_tools=False, instructed=instructed)


def _dialects() -> Iterator[Dialect]:
    known = ((name, each) for name, each in TEMPLATE_FAMILIES.items() if name != UNKNOWN)
    for (name, family), text_arguments, empty_text in product(known, (False, True), (None, "")):
        for in_calls in (False, True) if family.result else (False,):
            yield Dialect(
                name, text_arguments=text_arguments, empty_text=empty_text, results_in_calls=in_calls
            )
