r"""gpt-oss: messages in the harmony format, on channels.

    <|start|>system<|message|>…<|end|><|start|>developer<|message|>…<|end|><|start|>user<|message|>…<|end|>
    <|start|>assistant<|channel|>analysis<|message|>

The client's instructions and the functions stand in the developer message. Prompts are those of the model's
template, but that the prompt opens the analysis, or closes it at once in the direct mode: the model would
otherwise decide for itself whether to reason. Where the template takes one call from a message, all are
written; where it refuses a text beside the reasoning, the text is a commentary.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import assert_never

from tessera.core.chat import (
    AssistantMessage,
    ChatRequest,
    Mode,
    SystemMessage,
    ToolMessage,
    UserMessage,
)
from tessera.core.generation import SamplingDefaults
from tessera.formats.arguments import respelled
from tessera.formats.base import ChatFormat, Plain, Segment, Tag
from tessera.formats.chatml import json_text
from tessera.formats.typescript import namespace
from tessera.parsing.syntax import Syntax, Tags

GPT_OSS_TOKENS = frozenset(
    {"<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|end|>", "<|return|>", "<|call|>"}
)
_SYNTAX = Syntax(
    ends=("<|return|>", "<|call|>", "<|endoftext|>"),
    reasoning=Tags("<|channel|>analysis<|message|>", "<|end|>"),
    calls="harmony",
    before_close="",
    after_close=("<|start|>", "assistant"),
)
_SAMPLING: Mapping[Mode, SamplingDefaults] = MappingProxyType(
    {Mode.DIRECT: SamplingDefaults(), Mode.THINKING: SamplingDefaults()}
)
_IDENTITY = "You are ChatGPT, a large language model trained by OpenAI.\nKnowledge cutoff: 2024-06\n"
_CHANNELS = "# Valid channels: analysis, commentary, final. Channel must be included for every message."
_TOOLS_CHANNEL = "\nCalls to these tools must go to the commentary channel: 'functions'."
_UNKNOWN = "unknown"
"""The function of a result whose call is not in the conversation."""


def render(request: ChatRequest) -> tuple[Segment, ...]:
    """The whole prompt, up to the place where the model continues."""
    return (
        *_system(request),
        *_messages(request),
        *_header("assistant", "analysis"),
        *([] if request.mode is Mode.THINKING else [Tag("<|end|>"), Tag("<|start|>"), Plain("assistant")]),
    )


def _system(request: ChatRequest) -> Iterator[Segment]:
    today = datetime.now().astimezone().strftime("%Y-%m-%d")
    text = f"{_IDENTITY}Current date: {today}\n\nReasoning: medium\n\n{_CHANNELS}"
    yield from _message("system", text + (_TOOLS_CHANNEL if request.tools else ""))
    first = request.messages[0] if request.messages else None
    instructions = first.text if isinstance(first, SystemMessage) else ""
    text = f"# Instructions\n\n{instructions}\n\n" if instructions else ""
    if request.tools:
        text += f"# Tools\n\n{namespace('functions', request.tools)}"
    if text:
        yield from _message("developer", text)


def _messages(request: ChatRequest) -> Iterator[Segment]:
    """The messages. Reasoning stays only before calls that no answer follows, unless it is preserved."""
    messages = request.messages
    last_answer = max(
        (i for i, m in enumerate(messages) if isinstance(m, AssistantMessage) and not m.tool_calls),
        default=-1,
    )
    names: dict[str, str] = {}
    called = _UNKNOWN
    for i, message in enumerate(messages):
        match message:
            case SystemMessage():
                pass
            case UserMessage():
                yield from _message("user", message.text)
            case AssistantMessage():
                keeps = request.preserve_thinking or (bool(message.tool_calls) and i > last_answer)
                yield from _assistant(message, keeps_reasoning=keeps)
                for call in message.tool_calls:
                    called = names[call.id] = call.name
            case ToolMessage():
                name = names.get(message.tool_call_id, called)
                yield from _header(f"functions.{name} to=assistant", "commentary")
                yield from _body(json_text(message.text))
            case _:
                assert_never(message)


def _assistant(message: AssistantMessage, *, keeps_reasoning: bool) -> Iterator[Segment]:
    reasoning, text = message.reasoning, message.text
    if message.tool_calls and not reasoning:
        # So does the template: a text beside a call is the analysis.
        reasoning, text = text, ""
    if reasoning and keeps_reasoning:
        yield from _header("assistant", "analysis")
        yield from _body(reasoning)
    if text or not message.tool_calls:
        yield from _header("assistant", "commentary" if message.tool_calls else "final")
        yield from _body(text)
    for call in message.tool_calls:
        yield from _header(f"assistant to=functions.{call.name}", "commentary json")
        yield from _body(respelled(call.arguments), end="<|call|>")


def _message(role: str, text: str) -> Iterator[Segment]:
    yield from _header(role)
    yield from _body(text)


def _header(role: str, channel: str = "") -> Iterator[Segment]:
    yield from (Tag("<|start|>"), Plain(role))
    if channel:
        yield from (Tag("<|channel|>"), Plain(channel))
    yield Tag("<|message|>")


def _body(text: str, *, end: str = "<|end|>") -> Iterator[Segment]:
    yield from (Plain(text), Tag(end))


GPT_OSS = ChatFormat("gpt-oss", render, syntax=_SYNTAX, sampling=_SAMPLING)
