"""The size of schemas: what is refused before anything that recurses, or compiles, looks at them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tessera.core.chat import Json, JsonObject
from tessera.prompt.references import AnySchema, at_pointer, canonical_pointer, escaped
from tessera.prompt.validation import SchemaProblem

MAX_BYTES = 64 * 2**10
MAX_NESTING = 64
"""Levels of JSON: 32 schemas inside each other by `properties`."""
MAX_PROPERTIES = 1_000
MAX_ENUM_VALUES = 5_000
MAX_PATTERN_CHARACTERS = 8 * 2**10
"""Of all patterns together."""
MAX_VALUES: Mapping[str, int] = {
    "minLength": 10_000,
    "maxLength": 100_000,
    "minItems": 1_000,
    "maxItems": 10_000,
    "minProperties": MAX_PROPERTIES,
    "maxProperties": 10_000,
}


def excess(schema: AnySchema) -> SchemaProblem | None:
    """What is too large in `schema`, or a reference that leads nowhere. Takes any JSON; does not recurse."""
    return next(_excesses(schema), None)


@dataclass(frozen=True, slots=True)
class _Node:
    value: Json
    pointer: str
    depth: int


def _excesses(schema: AnySchema) -> Iterator[SchemaProblem]:
    n_properties = n_values = n_pattern = 0
    todo = [_Node(schema, "", 0)]
    while todo:
        node = todo.pop()
        if node.depth > MAX_NESTING:
            yield SchemaProblem(node.pointer, f"nested deeper than {MAX_NESTING} levels")
            return
        todo += _inside(node)
        if isinstance(node.value, Mapping):
            n_properties += size(node.value.get("properties"))
            n_values += size(node.value.get("enum"))
            n_pattern += sum(map(len, _patterns(node.value)))
            yield from _wrong_values(schema, node.value, node.pointer)
        if n_properties > MAX_PROPERTIES:
            yield SchemaProblem(node.pointer, f"`properties`: more than {MAX_PROPERTIES} in all")
        if n_values > MAX_ENUM_VALUES:
            yield SchemaProblem(node.pointer, f"`enum`: more than {MAX_ENUM_VALUES} values in all")
        if n_pattern > MAX_PATTERN_CHARACTERS:
            yield SchemaProblem(node.pointer, f"`pattern`: more than {MAX_PATTERN_CHARACTERS} characters")
    if len(json.dumps(schema)) > MAX_BYTES:
        yield SchemaProblem("", f"more than {MAX_BYTES} bytes")


def _inside(node: _Node) -> Iterator[_Node]:
    match node.value:
        case Mapping() as members:
            for key, value in members.items():
                yield _Node(value, f"{node.pointer}/{escaped(key)}", node.depth + 1)
        case [*items]:
            for i, value in enumerate(items):
                yield _Node(value, f"{node.pointer}/{i}", node.depth + 1)
        case _:
            pass


def _patterns(node: JsonObject) -> Iterator[str]:
    if isinstance(pattern := node.get("pattern"), str):
        yield pattern
    if isinstance(named := node.get("patternProperties"), Mapping):
        yield from named


def _wrong_values(schema: AnySchema, node: JsonObject, pointer: str) -> Iterator[SchemaProblem]:
    for keyword, most in MAX_VALUES.items():
        value = node.get(keyword)
        if isinstance(value, (int, float)) and value > most:
            yield SchemaProblem(f"{pointer}/{keyword}", f"`{keyword}`: more than {most}")
    if isinstance(reference := node.get("$ref"), str):
        target = canonical_pointer(reference)
        if target is None:
            wrong = "only JSON pointers within the schema, such as #/$defs/name"
            yield SchemaProblem(f"{pointer}/$ref", f"`$ref`: {wrong}")
        elif not _is_schema_at(schema, target):
            yield SchemaProblem(f"{pointer}/$ref", "`$ref`: there is no schema at its end")


def _is_schema_at(schema: AnySchema, pointer: str) -> bool:
    try:
        return isinstance(at_pointer(schema, pointer), (Mapping, bool))
    except LookupError:
        return False


def size(value: Json) -> int:
    """The number of members or items; 0 for other values."""
    return len(value) if isinstance(value, (Mapping, Sequence)) and not isinstance(value, str) else 0
