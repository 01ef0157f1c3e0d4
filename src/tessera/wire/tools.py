"""Reads the tools of a request, the choice among them, and the form of the answer."""

import re
from typing import assert_never

from tessera.core.chat import AnswerFormat, AnyJsonObject, FreeText, JsonSchema, Tool, ToolChoice
from tessera.errors import RequestError, UnsupportedParameter
from tessera.wire import request as wire
from tessera.wire.reading import check_depth, convert, missing, quoted

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NO_PARAMETERS: wire.JsonDict = {"type": "object", "additionalProperties": False}


def read_tools(sent: list[wire.JsonDict]) -> tuple[Tool, ...]:
    """The tools, with well-formed and unique names."""
    tools = tuple(_tool(definition, f"tools[{i}]") for i, definition in enumerate(sent))
    seen: set[str] = set()
    for tool in tools:
        if tool.name in seen:
            raise RequestError(
                f"Two tools are named {quoted(tool.name)}: names must differ.",
                param=f"{tool.param.removesuffix('.parameters')}.name",
            )
        seen.add(tool.name)
    return tools


def _nested(sent: wire.JsonDict) -> wire.JsonDict:
    """The tool as templates expect it. Clients may leave out its type, or put the fields of the function
    directly into it, as in OpenAI's other API.
    """
    if "function" in sent:
        return sent if sent.get("type") is not None else {**sent, "type": "function"}
    if sent.get("type") == "function" and "name" in sent:
        return {"type": "function", "function": {key: sent[key] for key in sent if key != "type"}}
    return sent


def _tool(sent: wire.JsonDict, param: str) -> Tool:
    definition = _nested(sent)
    check_depth(definition, param)
    if "function" not in sent and "function" in definition:
        return _read_function(convert(definition["function"], wire.Function, param), definition, param)
    tool = convert(definition, wire.ToolDefinition, param)
    if tool.type != "function":
        raise UnsupportedParameter(
            f"'{param}' is of type {quoted(tool.type or '')}: only function tools exist here. "
            'Send {"type": "function", "function": {"name": …, "parameters": …}}.',
            param=f"{param}.type",
        )
    if tool.function is None:
        raise missing(f"{param}.function")
    return _read_function(tool.function, definition, f"{param}.function")


def _read_function(function: wire.Function, definition: wire.JsonDict, param: str) -> Tool:
    if not _NAME.fullmatch(function.name):
        raise RequestError(
            f"Invalid '{param}.name': a name is 1 to 64 of letters, digits, _ and -.", param=f"{param}.name"
        )
    parameters = _NO_PARAMETERS if function.parameters is None else function.parameters
    return Tool(
        function.name,
        parameters,
        definition,
        strict=bool(function.strict),
        param=f"{param}.parameters",
    )


def read_tool_choice(sent: str | wire.ToolChoice | None, tools: tuple[Tool, ...]) -> ToolChoice:
    """Which calls the reply may have. Raises `RequestError` for calls of tools that do not exist."""
    if isinstance(sent, wire.ToolChoice):
        return _choice(sent, tools)
    match sent:
        case None | "auto":
            return ToolChoice()
        case "none":
            return ToolChoice("none")
        case "required" | "any":
            if not tools:
                raise RequestError(f"'tool_choice' {quoted(sent)} needs 'tools'.", param="tool_choice")
            return ToolChoice("required")
        case _:
            return ToolChoice("required", frozenset({_known(sent, "tool_choice", tools)}), named=True)


def _choice(sent: wire.ToolChoice, tools: tuple[Tool, ...]) -> ToolChoice:
    match sent.type:
        case "function" | "tool" | None:
            name = _known(*_name(sent, "tool_choice"), tools)
            return ToolChoice("required", frozenset({name}), named=True)
        case "allowed_tools":
            return _allowed(sent, tools)
        case word:
            return read_tool_choice(word, tools)


def _allowed(sent: wire.ToolChoice, tools: tuple[Tool, ...]) -> ToolChoice:
    allowed, param = sent.allowed_tools, "tool_choice.allowed_tools"
    if allowed is None and sent.mode and sent.tools:
        allowed = wire.AllowedTools(sent.mode, sent.tools)
        param = "tool_choice"
    if allowed is None:
        raise missing(param)
    names = (_known(*_name(one, f"{param}.tools[{i}]"), tools) for i, one in enumerate(allowed.tools))
    return ToolChoice(allowed.mode, frozenset(names))


def _name(sent: wire.ToolChoice | wire.NamedFunction, param: str) -> tuple[str, str]:
    """The name of a function, and its parameter."""
    if sent.function:
        return sent.function.name, f"{param}.function.name"
    if sent.name is None:
        raise missing(f"{param}.function")
    return sent.name, f"{param}.name"


def _known(name: str, param: str, tools: tuple[Tool, ...]) -> str:
    if all(tool.name != name for tool in tools):
        raise RequestError(f"'{param}' names {quoted(name)}, which is not among 'tools'.", param=param)
    return name


def read_format(sent: wire.Format | None) -> AnswerFormat:
    """The form that the answer must have."""
    match sent:
        case None | wire.TextFormat():
            return FreeText()
        case wire.JsonObjectFormat(schema, other_spelling):
            if schema or other_spelling:
                name = "schema" if schema else "response_schema"
                return _json_schema(schema or other_spelling or {}, f"response_format.{name}")
            return AnyJsonObject()
        case wire.JsonSchemaFormat(named):
            if named is not None:
                return _json_schema(
                    named.schema, "response_format.json_schema.schema", name=named.name, strict=named.strict
                )
            if sent.schema is not None:
                return _json_schema(sent.schema, "response_format.schema", name=sent.name, strict=sent.strict)
            raise missing("response_format.json_schema")
        case _:
            assert_never(sent)


def _json_schema(
    schema: wire.JsonDict | bool, param: str, name: str | None = None, strict: bool | None = None
) -> JsonSchema:
    check_depth(schema, param)
    return JsonSchema(name or "", schema, strict=bool(strict), param=param)
