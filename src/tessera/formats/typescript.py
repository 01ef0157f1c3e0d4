"""Writes the functions that a model may call as TypeScript, as the template of gpt-oss does.

The template's own line breaks and blanks within types are kept, since the model has seen them. Where the
template would fail, on schemas that are not well-formed, something short is written.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from tessera.core.chat import Json, JsonObject, Tool
from tessera.formats.chatml import json_text
from tessera.schemas.references import as_list, as_object

_SIMPLE = {"string": "string", "number": "number", "integer": "number", "boolean": "boolean"}
_LONGEST_ITEM = 50
_INDENT = " " * 16


def namespace(name: str, tools: Iterable[Tool]) -> str:
    """A namespace with one function type for each tool."""
    functions = "".join(map(_function, tools))
    return f"## {name}\n\nnamespace {name} {{\n\n{functions}}} // namespace {name}"


def _function(tool: Tool) -> str:
    function = as_object(tool.definition.get("function"))
    parameters = as_object(function.get("parameters"))
    described = f"// {_text(function['description'])}\n" if function.get("description") is not None else ""
    properties = as_object(parameters.get("properties"))
    if not properties:
        return f"{described}type {tool.name} = () => any;\n\n"
    required = as_list(parameters.get("required"))
    listed = "".join(_parameter(name, as_object(spec), required) for name, spec in properties.items())
    return f"{described}type {tool.name} = (_: {{\n{listed}}}) => any;\n\n"


def _parameter(name: str, spec: JsonObject, required: Sequence[Json]) -> str:
    described = f"// {_text(spec['description'])}\n" if spec.get("description") else ""
    return f"{described}{_named(name, required)}: {_type(spec)}{_default(spec)},\n"


def _default(spec: JsonObject) -> str:
    if "default" not in spec:
        return ""
    if spec.get("enum"):
        return f", // default: {_text(spec['default'])}"
    if spec.get("oneOf"):
        return f"// default: {_text(spec['default'])}"
    return f", // default: {json_text(spec['default'])}"


def _named(name: str, required: Sequence[Json]) -> str:
    return name if name in required else f"{name}?"


def _type(spec: JsonObject) -> str:
    match spec.get("type"):
        case "array":
            return _array(spec) + _or_null(spec)
        case str() | None | Mapping() | bool() | int() | float():
            pass
        case types if types:
            return " | ".join(map(_text, types))
        case _:
            pass
    if variants := as_list(spec.get("oneOf")):
        return " | \n".join("".join(_variant(as_object(each))) for each in variants)
    match spec.get("type"):
        case "string" if values := as_list(spec.get("enum")):
            return '"' + '" | "'.join(map(_text, values)) + '"'
        case "string":
            return "string" + _or_null(spec)
        case "number" | "integer":
            return "number"
        case "boolean":
            return "boolean"
        case "object":
            return _object(spec)
        case _:
            return "any"


def _array(spec: JsonObject) -> str:
    items = spec.get("items")
    if not isinstance(items, Mapping) or not items:
        return "any[]"
    kind = items.get("type")
    inner = _SIMPLE[kind] if isinstance(kind, str) and kind in _SIMPLE else _type(items)
    return "any[]" if inner == "object | object" or len(inner) > _LONGEST_ITEM else f"{inner}[]"


def _object(spec: JsonObject) -> str:
    properties = as_object(spec.get("properties"))
    if not properties:
        return "object"
    required = as_list(spec.get("required"))
    members = (
        f"{_named(name, required)}: \n{_INDENT}{_type(as_object(inner))}"
        for name, inner in properties.items()
    )
    return "{\n" + ", ".join(members) + "}"


def _variant(variant: JsonObject) -> Iterator[str]:
    yield _type(variant)
    if variant.get("description"):
        yield f"// {_text(variant['description'])}"
    if "default" in variant:
        yield f"{_INDENT}    // default: {json_text(variant['default'])}"


def _or_null(spec: JsonObject) -> str:
    return " | null" if spec.get("nullable") else ""


def _text(value: Json) -> str:
    return value if isinstance(value, str) else str(value)
