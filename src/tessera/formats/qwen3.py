r"""Qwen3.5 and Qwen3.6: ChatML with tool calls in XML, and reasoning that the prompt opens or closes.

    <|im_start|>system\n…<|im_end|>\n<|im_start|>user\n…<|im_end|>\n<|im_start|>assistant\n<think>\n

Tools stand in the system turn, before the client's own instructions. The results of consecutive calls form
one user turn. Reasoning stays in the history only after the last real user turn, which means inside a running
tool loop, unless the request preserves it everywhere. All texts are trimmed, as the model's template does.
"""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import assert_never

from tessera.core.chat import (
    AssistantMessage,
    ChatRequest,
    Message,
    Mode,
    SystemMessage,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from tessera.core.generation import SamplingDefaults
from tessera.errors import RequestError
from tessera.formats.arguments import as_text, members
from tessera.formats.base import ChatFormat, Control, Plain, Segment, Tag
from tessera.formats.chatml import chatml_syntax, markup, result_turn, tool_list

# From the model card (35B-A3B): general use, with and without thinking.
_SAMPLING: Mapping[Mode, SamplingDefaults] = MappingProxyType(
    {
        Mode.THINKING: SamplingDefaults(temperature=1.0, top_p=0.95, top_k=20, presence_penalty=1.5),
        Mode.DIRECT: SamplingDefaults(temperature=0.7, top_p=0.8, top_k=20, presence_penalty=1.5),
    }
)

_OPENING = {
    Mode.THINKING: "<|im_start|>assistant\n<think>\n",
    Mode.DIRECT: "<|im_start|>assistant\n<think>\n\n</think>\n\n",
}
_TOOLS_BEGIN = "# Tools\n\nYou have access to the following functions:\n\n<tools>"
_TOOLS_END = (
    "\n</tools>\n\nIf you choose to call a function ONLY reply in the following format with NO suffix:\n\n"
    "<tool_call>\n<function=example_function_name>\n<parameter=example_parameter_1>\nvalue_1\n</parameter>\n"
    "<parameter=example_parameter_2>\nThis is the value for the second parameter\nthat can span\nmultiple "
    "lines\n</parameter>\n</function>\n</tool_call>\n\n<IMPORTANT>\nReminder:\n- Function calls MUST follow "
    "the specified format: an inner <function=...></function> block must be nested within "
    "<tool_call></tool_call> XML tags\n- Required parameters MUST be specified\n- You may provide optional "
    "reasoning for your function call in natural language BEFORE the function call, but NOT after\n- If "
    "there is no function call available, answer the question like normal with your current knowledge and "
    "do not tell the user about function calls\n</IMPORTANT>"
)


def render(request: ChatRequest) -> tuple[Segment, ...]:
    """The whole prompt, up to the place where the model continues."""
    return (*conversation(request), *markup(_OPENING[request.mode]))


def conversation(request: ChatRequest) -> Iterator[Segment]:
    """The turns so far. Raises `RequestError` for a conversation that the model's template refuses."""
    _check(request.messages)
    yield from _system(request)
    last_user = _last_user(request.messages)
    for i, message in enumerate(request.messages):
        match message:
            case SystemMessage():
                pass
            case UserMessage():
                yield from _turn("user", message.text)
            case AssistantMessage():
                yield from _assistant(message, thinks=request.preserve_thinking or i > last_user)
            case ToolMessage():
                yield from result_turn(request.messages, i, message.text.strip())
            case _:
                assert_never(message)


QWEN3_TOKENS = frozenset(
    {"<|im_start|>", "<|im_end|>"}
    | {f"<{end}{tag}>" for tag in ("think", "tool_call", "tool_response") for end in ("", "/")}
)
"""The control tokens of its prompts and replies."""

QWEN3 = ChatFormat("qwen3", render, syntax=chatml_syntax("xml"), sampling=_SAMPLING)


def _check(messages: Sequence[Message]) -> None:
    if not messages:
        raise RequestError("There are no messages: send at least one user message.", param="messages")
    if any(isinstance(message, SystemMessage) for message in messages[1:]):
        raise RequestError("The system message must be the first one.", param="messages")


def _last_user(messages: Sequence[Message]) -> int:
    """The index of the last user turn that is not wholly a tool's result; -1 if there is none."""
    for i in range(len(messages) - 1, -1, -1):
        if isinstance(message := messages[i], UserMessage):
            text = message.text.strip()
            if not (text.startswith("<tool_response>") and text.endswith("</tool_response>")):
                return i
    return -1


def _system(request: ChatRequest) -> Iterator[Segment]:
    first = request.messages[0]
    system = first.text.strip() if isinstance(first, SystemMessage) else None
    if request.tools:
        yield from markup("<|im_start|>system\n")
        yield from tool_list(_TOOLS_BEGIN, request.tools, _TOOLS_END)
        yield Plain(f"\n\n{system}" if system else "")
        yield from markup("<|im_end|>\n")
    elif system is not None:
        yield from _turn("system", system)


def _turn(role: str, text: str) -> Iterator[Segment]:
    yield Control("<|im_start|>")
    yield Plain(f"{role}\n{text.strip()}")
    yield Control("<|im_end|>")
    yield Plain("\n")


def _assistant(message: AssistantMessage, *, thinks: bool) -> Iterator[Segment]:
    reasoning, text = _split(message)
    yield from markup("<|im_start|>assistant\n")
    if thinks:
        yield from markup("<think>\n")
        yield Plain(reasoning)
        yield from markup("\n</think>\n\n")
    yield Plain(text)
    for i, call in enumerate(message.tool_calls):
        yield Plain("\n" if i else "\n\n" if text else "")
        yield from _call(call)
    yield from markup("<|im_end|>\n")


def _split(message: AssistantMessage) -> tuple[str, str]:
    """Reasoning and text. Clients that do not know reasoning send it back inside the text."""
    text = message.text.strip()
    if message.reasoning is not None:
        return message.reasoning.strip(), text
    before, closed, _ = text.partition("</think>")
    if not closed:
        return "", text
    return before.rpartition("<think>")[2].strip(), text.rpartition("</think>")[2].lstrip("\n")


def _call(call: ToolCall) -> Iterator[Segment]:
    yield Tag("<tool_call>")
    given = members(call.arguments)
    if given is None:
        body = f"{call.arguments}\n"
    else:
        body = "".join(
            f"<parameter={name}>\n{as_text(value)}\n</parameter>\n" for name, value in given.items()
        )
    yield Plain(f"\n<function={call.name}>\n{body}</function>\n")
    yield Tag("</tool_call>")
