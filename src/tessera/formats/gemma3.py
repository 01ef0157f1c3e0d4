r"""Gemma 3: turns of a user and a model, and calls in the generic form.

    <bos><start_of_turn>user\nINSTRUCTIONS\n\nTEXT<end_of_turn>\n<start_of_turn>model\n

There is no turn for instructions: they stand before the first text of the user. Nor are there tokens for
calls; the documentation of the family leaves it to the prompt to define a form. So tools are described, and
calls and results written, as by Hermes models: a tag tells a call from an answer in JSON.
"""

from collections.abc import Iterator, Sequence
from types import MappingProxyType
from typing import assert_never

from tessera.core.chat import (
    AssistantMessage,
    ChatRequest,
    Message,
    Mode,
    SystemMessage,
    ToolMessage,
    UserMessage,
)
from tessera.core.generation import SamplingDefaults
from tessera.formats.base import ChatFormat, Plain, Segment, Tag
from tessera.formats.chatml import markup
from tessera.formats.hermes import tool_section, written_call
from tessera.parsing.syntax import Syntax, Tags

GEMMA3_TOKENS = frozenset({"<bos>", "<start_of_turn>", "<end_of_turn>"})
_SYNTAX = Syntax(ends=("<end_of_turn>", "<eos>"), call=Tags("<tool_call>", "</tool_call>"), calls="json")
# From the model card.
_SAMPLING = MappingProxyType({Mode.DIRECT: SamplingDefaults(temperature=1.0, top_p=0.95, top_k=64)})


def render(request: ChatRequest) -> tuple[Segment, ...]:
    """The whole prompt, up to the place where the model continues."""
    return (Tag("<bos>"), *_turns(request), Tag("<start_of_turn>"), Plain("model\n"))


def _turns(request: ChatRequest) -> Iterator[Segment]:
    before = (*_instructions(request),)
    messages = [each for each in request.messages if not isinstance(each, SystemMessage)]
    if before and not (messages and _role(messages[0]) == "user"):
        yield from (Tag("<start_of_turn>"), Plain("user\n"), *before, *_end())
        before = ()
    for i, message in enumerate(messages):
        role = _role(message)
        follows_result = i > 0 and isinstance(messages[i - 1], ToolMessage) and role == "user"
        yield from [Plain("\n")] if follows_result else [Tag("<start_of_turn>"), Plain(f"{role}\n")]
        yield from before
        before = ()
        yield from _content(message)
        if not (isinstance(message, ToolMessage) and _is_user(messages, i + 1)):
            yield from _end()


def _role(message: Message) -> str:
    return "model" if isinstance(message, AssistantMessage) else "user"


def _is_user(messages: Sequence[Message], i: int) -> bool:
    return i < len(messages) and _role(messages[i]) == "user"


def _end() -> Iterator[Segment]:
    yield from (Tag("<end_of_turn>"), Plain("\n"))


def _instructions(request: ChatRequest) -> Iterator[Segment]:
    first = request.messages[0] if request.messages else None
    if isinstance(first, SystemMessage):
        yield Plain(f"{first.text}\n\n")
    if request.tools:
        yield from tool_section(request.tools)
        yield Plain("\n\n")


def _content(message: Message) -> Iterator[Segment]:
    match message:
        case UserMessage(text):
            yield Plain(text.strip())
        case AssistantMessage():
            yield Plain(message.text.strip())
            for i, call in enumerate(message.tool_calls):
                yield from written_call(call, newline=bool(i or message.text.strip()))
        case ToolMessage(text):
            yield from markup("<tool_response>\n")
            yield Plain(text)
            yield from markup("\n</tool_response>")
        case SystemMessage():
            pass
        case _:
            assert_never(message)


GEMMA3 = ChatFormat("gemma3", render, syntax=_SYNTAX, sampling=_SAMPLING)
