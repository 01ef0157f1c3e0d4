r"""ChatML with tool calls as JSON: SmolLM2, Qwen2.5, Qwen3 and the Hermes models.

    <|im_start|>system\n…<|im_end|>\n<|im_start|>user\n…<|im_end|>\n<|im_start|>assistant\n

Tools are listed in the system turn. A call is `<tool_call>\n{"name": …, "arguments": …}\n</tool_call>`, and
the results of consecutive calls form one user turn. Reasoning stays in the history only after the last user
turn, which means inside a running tool loop, unless the request preserves it.
"""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import assert_never

from tessera.core.chat import (
    AssistantMessage,
    ChatRequest,
    Mode,
    SystemMessage,
    Tool,
    ToolCall,
    ToolMessage,
    UserMessage,
    last_user_turn,
)
from tessera.core.generation import SamplingDefaults
from tessera.formats.arguments import respelled
from tessera.formats.base import ChatFormat, Plain, Segment
from tessera.formats.chatml import chatml_syntax, json_text, markup, result_turn, tool_list

_SAMPLING: Mapping[Mode, SamplingDefaults] = MappingProxyType(
    {Mode.DIRECT: SamplingDefaults(), Mode.THINKING: SamplingDefaults()}
)
_TOOLS_BEGIN = (
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>"
)
_TOOLS_END = (
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
    '<tool_call></tool_call> XML tags:\n<tool_call>\n{"name": <function-name>, "arguments": '
    "<args-json-object>}\n</tool_call>"
)


def hermes_format(
    *,
    default_system: str | None = None,
    sampling: Mapping[Mode, SamplingDefaults] = _SAMPLING,
    closes_thinking: bool = False,
) -> ChatFormat:
    """The format of one model.

    `default_system` is the system prompt of conversations without one. `closes_thinking` is for models that
    reason by themselves: a direct turn then begins with an empty reasoning block.
    """
    opening = {
        Mode.THINKING: "<think>\n",
        Mode.DIRECT: "<think>\n\n</think>\n\n" if closes_thinking else "",
    }

    def render(request: ChatRequest) -> tuple[Segment, ...]:
        return (
            *_system(request, default_system),
            *_turns(request),
            *markup(f"<|im_start|>assistant\n{opening[request.mode]}"),
        )

    return ChatFormat("hermes", render, syntax=chatml_syntax("json"), sampling=sampling)


def _system(request: ChatRequest, default: str | None) -> Iterator[Segment]:
    first = request.messages[0]
    system = first.text if isinstance(first, SystemMessage) else default
    if system is None and not request.tools:
        return
    yield from markup("<|im_start|>system\n")
    if system is not None:
        yield Plain(f"{system}\n\n" if request.tools else system)
    if request.tools:
        yield from tool_section(request.tools)
    yield from markup("<|im_end|>\n")


def tool_section(tools: Iterable[Tool]) -> Iterator[Segment]:
    """The part of the prompt that lists the tools and the form of a call."""
    return tool_list(_TOOLS_BEGIN, tools, _TOOLS_END)


def _turns(request: ChatRequest) -> Iterator[Segment]:
    messages = request.messages
    last_user = last_user_turn(messages)
    for i, message in enumerate(messages):
        match message:
            case SystemMessage():
                pass
            case UserMessage():
                yield from markup("<|im_start|>user\n")
                yield Plain(message.text)
                yield from markup("<|im_end|>\n")
            case AssistantMessage():
                yield from _assistant(message, reasoning=request.preserve_thinking or i > last_user)
            case ToolMessage():
                yield from result_turn(messages, i, message.text)
            case _:
                assert_never(message)


def _assistant(message: AssistantMessage, *, reasoning: bool) -> Iterator[Segment]:
    yield from markup("<|im_start|>assistant\n")
    if reasoning and message.reasoning:
        yield from markup("<think>\n")
        yield Plain(message.reasoning.strip("\n"))
        yield from markup("\n</think>\n\n")
    yield Plain(message.text)
    for i, call in enumerate(message.tool_calls):
        yield from written_call(call, newline=bool(i or message.text))
    yield from markup("<|im_end|>\n")


def written_call(call: ToolCall, *, newline: bool) -> Iterator[Segment]:
    """A call, after a newline or not."""
    yield from markup("\n<tool_call>\n" if newline else "<tool_call>\n")
    yield Plain(f'{{"name": {json_text(call.name)}, "arguments": {respelled(call.arguments)}}}')
    yield from markup("\n</tool_call>")


HERMES = hermes_format()
