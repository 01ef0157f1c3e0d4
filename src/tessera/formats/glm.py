r"""GLM 4.5 to 4.7: calls and results in XML, and reasoning that the prompt opens or closes.

    [gMASK]<sop><|system|>\n…<|user|>\n…<|assistant|>\n<think>

A turn has no closing tag: the next role ends it. Tools stand in a system turn of their own, and the results
of consecutive calls in one turn. Reasoning stays in the history only after the last user turn, unless the
request preserves it everywhere. GLM 4.7 writes all of this without the line breaks.

Prompts are those of the models' templates, but that the prompt of GLM 4.5 and 4.6 opens the reasoning, as
that of GLM 4.7 does.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import assert_never

from tessera.core.chat import (
    AssistantMessage,
    ChatRequest,
    Mode,
    SystemMessage,
    ToolCall,
    ToolMessage,
    UserMessage,
    last_user_turn,
)
from tessera.core.generation import SamplingDefaults
from tessera.formats.arguments import as_text, members
from tessera.formats.base import ChatFormat, Plain, Segment, Tag
from tessera.formats.chatml import json_text
from tessera.parsing.syntax import CallStyle, Syntax, Tags

GLM_TOKENS = frozenset({"[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"})

# From the model cards.
_SAMPLING: Mapping[Mode, SamplingDefaults] = MappingProxyType(
    {
        Mode.THINKING: SamplingDefaults(temperature=1.0, top_p=0.95),
        Mode.DIRECT: SamplingDefaults(temperature=1.0, top_p=0.95),
    }
)
_MARKUP = re.compile(
    r"(\[gMASK\]|<sop>|<\|(?:system|user|assistant|observation)\|>"
    r"|</?(?:think|tool_call|tool_response|arg_key|arg_value)>)"
)
_TOOLS_BEGIN = (
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n"
)
_TOOLS_END = (
    "</tools>\n\nFor each function call, output the function name and arguments within the following XML "
    "format:\n"
)
_CALL_FORM = (
    "<tool_call>{function-name}",
    "<arg_key>{arg-key-1}</arg_key>",
    "<arg_value>{arg-value-1}</arg_value>",
    "<arg_key>{arg-key-2}</arg_key>",
    "<arg_value>{arg-value-2}</arg_value>",
    "...",
    "</tool_call>",
)
_NO_THINK = "/nothink"


@dataclass(frozen=True, slots=True)
class _Version:
    """What versions write differently: `line` between the parts of a turn, the reasoning that is empty, and
    what is added to a user's text in the direct mode.
    """

    line: str
    no_reasoning: str
    direct_suffix: str = ""

    def render(self, request: ChatRequest) -> tuple[Segment, ...]:
        opening = "<think>" if request.mode is Mode.THINKING else self.no_reasoning
        return (
            *_markup("[gMASK]<sop>"),
            *self._tools(request),
            *self._turns(request),
            *_markup(f"<|assistant|>{self.line}{opening}"),
        )

    def _tools(self, request: ChatRequest) -> Iterator[Segment]:
        if request.tools:
            yield from _markup(f"<|system|>\n{_TOOLS_BEGIN}")
            yield Plain("".join(f"{json_text(tool.definition)}\n" for tool in request.tools))
            yield from _markup(_TOOLS_END + self.line.join(_CALL_FORM))

    def _turns(self, request: ChatRequest) -> Iterator[Segment]:
        messages = request.messages
        last_user = last_user_turn(messages)
        suffix = "" if request.mode is Mode.THINKING else self.direct_suffix
        for i, message in enumerate(messages):
            match message:
                case SystemMessage():
                    yield from self._text("<|system|>", message.text)
                case UserMessage():
                    text = message.text
                    yield from self._text("<|user|>", text if text.endswith(_NO_THINK) else text + suffix)
                case AssistantMessage():
                    yield from self._assistant(message, thinks=request.preserve_thinking or i > last_user)
                case ToolMessage():
                    if not (i and isinstance(messages[i - 1], ToolMessage)):
                        yield Tag("<|observation|>")
                    yield from _markup(f"{self.line}<tool_response>{self.line}")
                    yield Plain(message.text)
                    yield from _markup(f"{self.line}</tool_response>")
                case _:
                    assert_never(message)

    def _text(self, role: str, text: str) -> Iterator[Segment]:
        yield from (Tag(role), Plain(self.line + text))

    def _assistant(self, message: AssistantMessage, *, thinks: bool) -> Iterator[Segment]:
        reasoning, text = _split(message)
        yield from _markup(f"<|assistant|>{self.line}")
        if thinks and reasoning:
            yield from (Tag("<think>"), Plain(reasoning.strip()), Tag("</think>"))
        else:
            yield from _markup(self.no_reasoning)
        if text := text.strip():
            yield Plain(self.line + text)
        for call in message.tool_calls:
            yield from self._call(call)

    def _call(self, call: ToolCall) -> Iterator[Segment]:
        yield from (Plain(self.line), Tag("<tool_call>"), Plain(call.name + self.line))
        given = members(call.arguments)
        if given is None:
            yield Plain(call.arguments + self.line)
        for name, value in (given or {}).items():
            yield from (Tag("<arg_key>"), Plain(name), Tag("</arg_key>"), Plain(self.line))
            yield from (Tag("<arg_value>"), Plain(as_text(value)), Tag("</arg_value>"), Plain(self.line))
        yield Tag("</tool_call>")

    def format(self, name: str, calls: CallStyle) -> ChatFormat:
        syntax = Syntax(
            ends=("<|endoftext|>", "<|user|>", "<|observation|>"),
            reasoning=Tags("<think>", "</think>"),
            call=Tags("<tool_call>", "</tool_call>"),
            calls=calls,
            before_close="",
            after_close=(self.line,) if self.line else (),
            call_line="",
            line=self.line,
            begins_answer=bool(self.line),
        )
        return ChatFormat(name, self.render, syntax=syntax, sampling=_SAMPLING)


def _markup(literal: str) -> Iterator[Segment]:
    """Segments of the family's own text. Never pass text of a client."""
    for i, part in enumerate(_MARKUP.split(literal)):
        if part:
            yield Tag(part) if i % 2 else Plain(part)


def _split(message: AssistantMessage) -> tuple[str, str]:
    """Reasoning and text. Clients that do not know reasoning send it back inside the text."""
    text = message.text
    if message.reasoning is not None or "</think>" not in text:
        return message.reasoning or "", text
    before, *_, after = text.split("</think>")
    return before.rstrip("\n").split("<think>")[-1].lstrip("\n"), after.lstrip("\n")


GLM = _Version(line="\n", no_reasoning="<think></think>", direct_suffix=_NO_THINK).format("glm", "glm")
GLM_4_7 = _Version(line="", no_reasoning="</think>").format("glm-4.7", "glm-4.7")
