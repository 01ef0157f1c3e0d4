"""The messages of a conversation as templates expect them: OpenAI's objects.

A template that knows nothing of calls, or of tools, gets them as text.
"""

from collections.abc import Callable, Iterable
from typing import assert_never

from tessera.core.chat import AssistantMessage, Json, Message, SystemMessage, Tool, ToolMessage, UserMessage
from tessera.formats.chatml import json_text
from tessera.formats.template_families import TemplateFamily
from tessera.formats.written_calls import call_text, example_call

MessageObject = dict[str, Json]

_RESULT = "<tool_response>\n{}\n</tool_response>"
_TOOLS = (
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n{}\n</tools>\n\n"
    "To call a function, write its name and its arguments, a JSON object that fits its parameters, in "
    "exactly this form:\n{}"
)


def as_object(
    message: Message,
    mask: Callable[[str], str],
    arguments: Callable[[str], Json],
    empty_text: str | None = None,
) -> MessageObject:
    """The message as OpenAI's object. `mask` defuses the client's text, `arguments` gives those of a call in
    the form that the template wants, and `empty_text` is the content of a message that only calls.
    """
    match message:
        case SystemMessage():
            return {"role": "system", "content": mask(message.text)}
        case UserMessage():
            return {"role": "user", "content": mask(message.text)}
        case ToolMessage():
            call_id = mask(message.tool_call_id)
            return {"role": "tool", "content": mask(message.text), "tool_call_id": call_id}
        case AssistantMessage():
            functions = (
                (mask(call.id), {"name": mask(call.name), "arguments": arguments(call.arguments)})
                for call in message.tool_calls
            )
            calls: list[Json] = [{"id": id, "type": "function", "function": each} for id, each in functions]
            reasoning = message.reasoning
            return {
                "role": "assistant",
                "content": empty_text if calls and not message.text else mask(message.text),
                **({"tool_calls": calls} if calls else {}),
                **({} if reasoning is None else {"reasoning_content": mask(reasoning)}),
            }
        case _:
            assert_never(message)


def thinking_blocks(message: MessageObject) -> MessageObject:
    """The message with its reasoning as a block of the content, as Mistral's templates want it."""
    text = message["content"]
    blocks: list[Json] = [{"type": "thinking", "thinking": message["reasoning_content"]}]
    return {**message, "content": [*blocks, *([{"type": "text", "text": text}] if text else [])]}


def results_in_calls(messages: Iterable[MessageObject]) -> list[MessageObject]:
    """The messages with the results of calls as part of the message that called, each with the name of its
    function.
    """
    written: list[MessageObject] = []
    names: dict[str, str] = {}
    responses: list[Json] | None = None
    for message in messages:
        match message:
            case {"role": "tool", "content": content, "tool_call_id": str(id)} if responses is not None:
                responses.append({"name": names.get(id, "unknown"), "response": content})
            case {"tool_calls": [*calls]}:
                names |= dict(map(_call_name, calls))
                responses = []
                written.append({**message, "tool_responses": responses})
            case _:
                responses = None
                written.append(message)
    return written


def calls_as_text(messages: Iterable[MessageObject], family: TemplateFamily) -> list[MessageObject]:
    """The messages with calls and their results as text; consecutive results, and what the user says after
    them, are one turn. The arguments of the calls must be text.
    """
    written: list[MessageObject] = []
    after_result = False
    for message in messages:
        content = message["content"] or ""
        match message:
            case {"role": "tool"}:
                turn: MessageObject = {"role": "user", "content": _RESULT.format(content)}
            case {"tool_calls": [*calls], **rest}:
                texts = [*([content] if content else []), *(_call_text(call, family) for call in calls)]
                turn = {**rest, "content": "\n".join(map(str, texts))}
            case _:
                turn = message
        if after_result and turn["role"] == "user":
            written[-1] = {**turn, "content": f"{written[-1]['content']}\n{turn['content']}"}
        else:
            written.append(turn)
        after_result = message["role"] == "tool"
    return written


def _call_name(call: Json) -> tuple[str, str]:
    """The identifier of a call, and the name of its function."""
    match call:
        case {"id": str(id), "function": {"name": str(name)}}:
            return id, name
        case _:
            raise TypeError("a call has no identifier or no name")


def _call_text(call: Json, family: TemplateFamily) -> str:
    match call:
        case {"function": {"name": str(name), "arguments": str(arguments)}}:
            return call_text(family.syntax, name, arguments)
        case _:
            raise TypeError("the arguments of a call are not text")


def with_tools(
    messages: list[MessageObject],
    tools: Iterable[Tool],
    family: TemplateFamily,
    mask: Callable[[str], str],
    *,
    instructed: bool,
) -> list[MessageObject]:
    """The messages with the definitions of the tools as text: in the system message or, if the template has
    none, before the first text of the user. `mask` defuses the client's text.
    """
    definitions = "\n".join(mask(json_text(tool.definition)) for tool in tools)
    text = _TOOLS.format(definitions, example_call(family.syntax))
    if instructed and messages[0]["role"] != "system":
        return [{"role": "system", "content": text}, *messages]
    at = 0 if instructed else next((i for i, each in enumerate(messages) if each["role"] == "user"), 0)
    content = messages[at]["content"]
    parts = (content, text) if instructed else (text, content)
    joined = "\n\n".join(str(part) for part in parts if part)
    return [*messages[:at], {**messages[at], "content": joined}, *messages[at + 1 :]]
