"""The conversation of a request."""

from typing import assert_never

import msgspec

from tessera.core.chat import AssistantMessage, Message, SystemMessage, ToolCall, ToolMessage, UserMessage
from tessera.errors import RequestError, UnsupportedParameter
from tessera.wire import request as wire
from tessera.wire.reading import check_depth, decode, quoted

_ARGUMENTS = msgspec.json.Decoder(wire.JsonDict)


def read_messages(sent: list[wire.Message]) -> tuple[Message, ...]:
    """The conversation, with all instructions merged into one leading system message."""
    messages = [_message(message, f"messages[{i}]") for i, message in enumerate(sent)]
    instructions = [message.text for message in messages if isinstance(message, SystemMessage)]
    turns = tuple(message for message in messages if not isinstance(message, SystemMessage))
    if not any(isinstance(turn, UserMessage) for turn in turns):
        raise RequestError("Send at least one message with the role user.", param="messages")
    return (SystemMessage("\n\n".join(instructions)), *turns) if instructions else turns


def _message(message: wire.Message, param: str) -> Message:
    match message:
        case wire.System() | wire.Developer():
            return SystemMessage(_text(message.content, param))
        case wire.User():
            return UserMessage(_text(message.content, param))
        case wire.ToolResult():
            return ToolMessage(_text(message.content, param), message.tool_call_id)
        case wire.Assistant():
            return _assistant(message, param)
        case _:
            assert_never(message)


def _assistant(message: wire.Assistant, param: str) -> AssistantMessage:
    calls = tuple(
        _call(call, f"{param}.tool_calls[{i}].function.arguments")
        for i, call in enumerate(message.tool_calls or ())
    )
    reasoning = message.reasoning if message.reasoning_content is None else message.reasoning_content
    content = message.refusal if message.content is None else message.content
    return AssistantMessage("" if content is None else _text(content, param), reasoning, calls)


def _call(call: wire.Call, param: str) -> ToolCall:
    arguments = decode(_ARGUMENTS, call.function.arguments, param)
    check_depth(arguments, param)
    return ToolCall(call.id, call.function.name, arguments)


def _text(content: wire.Content, param: str) -> str:
    if isinstance(content, str):
        return content
    return "".join(_part(part, f"{param}.content[{i}]") for i, part in enumerate(content))


def _part(part: wire.Part, param: str) -> str:
    text = {"text": part.text, "refusal": part.refusal}.get(part.type)
    if text is not None:
        return text
    if part.type in ("text", "refusal"):
        raise RequestError(
            f"Missing required parameter: '{param}.{part.type}'.",
            param=f"{param}.{part.type}",
            code="missing_required_parameter",
        )
    raise UnsupportedParameter(
        f"'{param}' is a part of type {quoted(part.type)}: this service reads text only. "
        'Send a string, or parts {"type": "text", "text": …}.',
        param=param,
    )
