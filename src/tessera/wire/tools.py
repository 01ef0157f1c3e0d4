"""The tools of a request, which of them may be called, and the form of the answer."""

import re
from typing import assert_never

from tessera.core.chat import AnswerFormat, AnyJsonObject, FreeText, JsonSchema, Tool, ToolChoice
from tessera.errors import RequestError, UnsupportedParameter
from tessera.wire import request as wire
from tessera.wire.reading import check_depth, convert, quoted

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NO_PARAMETERS: wire.JsonDict = {"type": "object", "additionalProperties": False}


def read_tools(sent: list[wire.JsonDict]) -> tuple[Tool, ...]:
    """The tools; their names are well-formed and unique."""
    tools = tuple(_tool(definition, f"tools[{i}]") for i, definition in enumerate(sent))
    seen: set[str] = set()
    for i, tool in enumerate(tools):
        if tool.name in seen:
            raise RequestError(
                f"Two tools are named {quoted(tool.name)}: names must differ.",
                param=f"tools[{i}].function.name",
            )
        seen.add(tool.name)
    return tools


def _tool(definition: wire.JsonDict, param: str) -> Tool:
    tool = convert(definition, wire.ToolDefinition, param)
    if tool.type != "function":
        raise UnsupportedParameter(
            f"'{param}' is of type {quoted(tool.type)}: only function tools exist here. "
            'Send {"type": "function", "function": {"name": …, "parameters": …}}.',
            param=f"{param}.type",
        )
    if tool.function is None:
        raise RequestError(
            f"Missing required parameter: '{param}.function'.",
            param=f"{param}.function",
            code="missing_required_parameter",
        )
    function = tool.function
    if not _NAME.fullmatch(function.name):
        raise RequestError(
            f"Invalid '{param}.function.name': a name is 1 to 64 of letters, digits, _ and -.",
            param=f"{param}.function.name",
        )
    check_depth(definition, param)
    parameters = _NO_PARAMETERS if function.parameters is None else function.parameters
    return Tool(function.name, parameters, definition, bool(function.strict))


def read_tool_choice(choice: wire.Choice | None, tools: tuple[Tool, ...]) -> ToolChoice:
    """Which calls the reply may hold."""
    if choice is None:
        return ToolChoice()
    if not tools:
        raise RequestError("'tool_choice' needs 'tools': send both or neither.", param="tool_choice")
    match choice:
        case "none" | "auto" | "required":
            return ToolChoice(choice)
        case wire.FunctionChoice():
            name = _known(choice.function.name, tools, "tool_choice.function.name")
            return ToolChoice("required", frozenset({name}), named=True)
        case wire.AllowedToolsChoice(allowed):
            names = (
                _known(one.function.name, tools, f"tool_choice.allowed_tools.tools[{i}].function.name")
                for i, one in enumerate(allowed.tools)
            )
            return ToolChoice(allowed.mode, frozenset(names))
        case _:
            assert_never(choice)


def _known(name: str, tools: tuple[Tool, ...], param: str) -> str:
    if all(tool.name != name for tool in tools):
        raise RequestError(f"'{param}' names {quoted(name)}, which is not among 'tools'.", param=param)
    return name


def read_format(format: wire.Format | None) -> AnswerFormat:
    """What the answer must look like."""
    match format:
        case None | wire.TextFormat():
            return FreeText()
        case wire.JsonObjectFormat():
            return AnyJsonObject()
        case wire.JsonSchemaFormat(named):
            check_depth(named.schema, "response_format.json_schema.schema")
            return JsonSchema(named.name, named.schema, bool(named.strict))
        case _:
            assert_never(format)
