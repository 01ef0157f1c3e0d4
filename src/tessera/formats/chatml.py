"""What the ChatML families share: the markup, and the form of tools' results and of JSON."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence

from tessera.core.chat import Json, Message, Tool, ToolMessage
from tessera.formats.base import Control, Plain, Segment, Tag
from tessera.parsing.syntax import CallStyle, Syntax, Tags

_MARKUP = re.compile(r"(<\|im_(?:start|end)\|>|</?(?:think|tool_call|tool_response)>)")


def chatml_syntax(calls: CallStyle) -> Syntax:
    """The output syntax. Families differ only in the form of their calls."""
    return Syntax(
        ends=("<|im_end|>", "<|endoftext|>"),
        reasoning=Tags("<think>", "</think>"),
        call=Tags("<tool_call>", "</tool_call>"),
        calls=calls,
    )


def markup(literal: str) -> Iterator[Segment]:
    """Segments of the family's own text, in which markup counts. Never pass text of a client."""
    for i, part in enumerate(_MARKUP.split(literal)):
        if i % 2:
            yield Control(part) if part.startswith("<|im_") else Tag(part)
        elif part:
            yield Plain(part)


def tool_list(begin: str, tools: Iterable[Tool], end: str) -> Iterator[Segment]:
    """The definitions of tools, one a line, between the family's own texts."""
    yield from markup(begin)
    for tool in tools:
        yield Plain("\n" + json_text(tool.definition))
    yield from markup(end)


def result_turn(messages: Sequence[Message], i: int, text: str) -> Iterator[Segment]:
    """The result `text` of the tool message `i`. Consecutive results form one user turn."""
    if not (i and isinstance(messages[i - 1], ToolMessage)):
        yield from markup("<|im_start|>user")
    yield from markup("\n<tool_response>\n")
    yield Plain(text)
    yield from markup("\n</tool_response>")
    if i + 1 == len(messages) or not isinstance(messages[i + 1], ToolMessage):
        yield from markup("<|im_end|>\n")


def json_text(value: Json) -> str:
    """The value as the `tojson` of templates writes it."""
    return json.dumps(value, ensure_ascii=False)
