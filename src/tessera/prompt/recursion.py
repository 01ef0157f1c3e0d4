"""References that come back to where they stand: which circles are meaningless, and which have no end."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

from tessera.core.chat import Json, JsonObject
from tessera.prompt.references import (
    AnySchema,
    Document,
    as_schema,
    at_pointer,
    definition_name,
    held,
    subschemas,
    types_named,
    walk,
)

_IN_PLACE = frozenset(
    ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies")
)

Find: TypeAlias = Callable[[str, str], str | None]
"""The pointer of what a reference, which stands at a pointer, points at; None for nothing in the schema."""


def circular(schema: AnySchema, find: Find) -> str | None:
    """The pointer of a schema that holds for a value only if it holds for that very value, as
    `{"$ref": "#"}` does; or None.
    """
    leads: dict[str, set[str]] = {}
    todo = [""]
    while todo:
        if (pointer := todo.pop()) not in leads:
            below = as_schema(at_pointer(schema, pointer))
            todo += (to for at, node in walk(below, pointer) for to in _references(node, at, find))
            leads[pointer] = set(_in_place(below, pointer, find))
    done: set[str] = set()
    while ready := [name for name, to in leads.items() if name not in done and to <= done]:
        done.update(ready)
    return next((name for name in leads if name not in done), None)


def _references(node: JsonObject, at: str, find: Find) -> Iterator[str]:
    if isinstance(reference := node.get("$ref"), str) and (pointer := find(reference, at)) is not None:
        yield pointer


def _in_place(schema: AnySchema, pointer: str, find: Find) -> Iterator[str]:
    """What a schema refers to for the very value that it is applied to."""
    todo: list[tuple[str, Json]] = [(pointer, schema)]
    while todo:
        at, node = todo.pop()
        if isinstance(node, Mapping):
            yield from _references(node, at, find)
            for name in _IN_PLACE & node.keys():
                todo += ((f"{at}/{name}{below}", inner) for below, inner in held(name, node[name]))


def bottomless(document: Document) -> str | None:
    """The name of a definition that no finite value satisfies, such as a list whose every node needs a next
    one; or None.
    """
    finite: set[str] = set()
    while more := [
        name
        for name, schema in document.definitions.items()
        if name not in finite and _is_finite(schema, finite)
    ]:
        finite.update(more)
    return next((name for name in document.definitions if name not in finite), None)


def _is_finite(schema: AnySchema, finite: set[str]) -> bool:
    """Whether a value can end, if it can for the definitions in `finite`."""
    if not isinstance(schema, Mapping):
        return True
    if "$ref" in schema and definition_name(schema) not in finite:
        return False
    for keyword, among in (("allOf", all), ("anyOf", any)):
        branches = subschemas(schema, keyword)
        if branches and not among(_is_finite(branch, finite) for branch in branches):
            return False
    types = types_named(schema)
    if types == {"object"} and not all(_is_finite(needed, finite) for needed in _needed(schema)):
        return False
    if types == {"array"} and schema.get("minItems"):
        return _is_finite(as_schema(schema.get("items", True)), finite)
    return True


def _needed(schema: JsonObject) -> Iterator[AnySchema]:
    properties, required = schema.get("properties"), schema.get("required")
    if isinstance(properties, Mapping) and isinstance(required, Sequence):
        for name in required:
            yield as_schema(properties.get(str(name), True))
