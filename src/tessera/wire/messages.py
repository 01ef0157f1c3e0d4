"""Reads the conversation of a request."""

from contextlib import suppress
from typing import assert_never

import msgspec

from tessera.core.chat import AssistantMessage, Message, SystemMessage, ToolCall, ToolMessage, UserMessage
from tessera.errors import UnsupportedParameter
from tessera.wire import request as wire
from tessera.wire.reading import check_depth, missing, quoted

_TEXT_PARTS = ("text", "input_text", "output_text", None)  # OpenAI's three names, and no name
_REASONING_PARTS = ("thinking", "reasoning", "redacted_thinking")  # the last one is encrypted, and dropped


def read_messages(sent: list[wire.Message]) -> tuple[Message, ...]:
    """The conversation, with all instructions merged into one leading system message."""
    messages = [_message(message, f"messages[{i}]") for i, message in enumerate(sent)]
    instructions = [message.text for message in messages if isinstance(message, SystemMessage)]
    turns = tuple(message for message in messages if not isinstance(message, SystemMessage))
    return (SystemMessage("\n\n".join(instructions)), *turns) if instructions else turns


def _message(message: wire.Message, param: str) -> Message:
    match message:
        case wire.System() | wire.Developer():
            return SystemMessage(_text(message.content, param))
        case wire.User():
            return UserMessage(_text(message.content, param))
        case wire.ToolResult():
            return ToolMessage(_text(message.content or "", param), message.tool_call_id)
        case wire.Assistant():
            return _assistant(message, param)
        case _:
            assert_never(message)


def _assistant(message: wire.Assistant, param: str) -> AssistantMessage:
    calls = tuple(
        _call(call, f"{param}.tool_calls[{i}].function.arguments")
        for i, call in enumerate(message.tool_calls or ())
    )
    content = (message.refusal if message.content is None else message.content) or ""
    reasoning = message.reasoning if message.reasoning_content is None else message.reasoning_content
    if isinstance(content, list):
        thoughts = [part for part in content if _is_reasoning(part)]
        content = [part for part in content if not _is_reasoning(part)]
        if thoughts and reasoning is None:
            reasoning = "".join(_thought(part) for part in thoughts) or None
    return AssistantMessage(_text(content, param), reasoning, calls)


def _is_reasoning(part: str | wire.Part) -> bool:
    return isinstance(part, wire.Part) and part.type in _REASONING_PARTS


def _thought(part: str | wire.Part) -> str:
    return part if isinstance(part, str) else part.thinking or part.text or ""


def _call(call: wire.Call, param: str) -> ToolCall:
    return ToolCall(call.id or "", call.function.name, _arguments(call.function.arguments, param))


def _arguments(sent: str | wire.JsonDict | None, param: str) -> str:
    if isinstance(sent, dict):
        check_depth(sent, param)
        return msgspec.json.encode(sent).decode()
    text = (sent or "").strip()
    if text.startswith('"'):
        with suppress(msgspec.MsgspecError):  # an object that was encoded twice
            inner = msgspec.json.decode(text, type=str)
            text = inner if inner.lstrip().startswith("{") else text
    return "{}" if text in ("", "null") else text


def _text(content: wire.Content, param: str) -> str:
    if isinstance(content, str):
        return content
    return "".join(_part(part, f"{param}.content[{i}]") for i, part in enumerate(content))


def _part(part: str | wire.Part, param: str) -> str:
    if isinstance(part, str):
        return part
    field = "text" if part.type in _TEXT_PARTS else part.type
    text = part.text if field == "text" else part.refusal if field == "refusal" else None
    if text is not None:
        return text
    if field in ("text", "refusal"):
        raise missing(f"{param}.{field}")
    raise UnsupportedParameter(
        f"'{param}' is a part of type {quoted(part.type or '')}: this service reads text only. "
        'Send a string, or parts {"type": "text", "text": …}.',
        param=param,
    )
