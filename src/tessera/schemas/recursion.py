"""Cycles of references: those without meaning, and those that no finite value satisfies."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

from tessera.core.chat import Json, JsonObject
from tessera.schemas.references import (
    AnySchema,
    Document,
    as_schema,
    at_pointer,
    definition_name,
    held,
    subschemas,
    walk,
)
from tessera.schemas.resolver import Resolver
from tessera.schemas.types import types_named

_IN_PLACE = frozenset(
    ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies")
)


def circular(schema: AnySchema, resolver: Resolver) -> str | None:
    """The pointer of a `$ref` cycle that never descends into a property or an item, such as {"$ref": "#"};
    None if there is none.
    """
    leads: dict[str, set[str]] = {}
    todo = [""]
    while todo:
        if (pointer := todo.pop()) not in leads:
            below = _without_definitions(as_schema(at_pointer(schema, pointer)))
            todo += (to for at, node in walk(below, pointer) for to in _references(node, at, resolver))
            leads[pointer] = set(_in_place(below, pointer, resolver))
    try:
        TopologicalSorter(leads).prepare()
    except CycleError as error:
        return str(error.args[1][0])
    return None


def _without_definitions(schema: AnySchema) -> AnySchema:
    """The schema without definitions, which only count where something refers to them."""
    if isinstance(schema, bool):
        return schema
    return {name: value for name, value in schema.items() if name not in ("$defs", "definitions")}


def _references(node: JsonObject, at: str, resolver: Resolver) -> Iterator[str]:
    if (
        isinstance(reference := node.get("$ref"), str)
        and (pointer := resolver.find(reference, at)) is not None
    ):
        yield pointer


def _in_place(schema: AnySchema, pointer: str, resolver: Resolver) -> Iterator[str]:
    """The references of a schema that apply to the same value as the schema itself."""
    todo: list[tuple[str, Json]] = [(pointer, schema)]
    while todo:
        at, node = todo.pop()
        if isinstance(node, Mapping):
            yield from _references(node, at, resolver)
            for name in _IN_PLACE & node.keys():
                todo += ((f"{at}/{name}{below}", inner) for below, inner in held(name, node[name]))


@dataclass(slots=True, eq=False)
class _Node:
    """A schema, which has a finite value as soon as `n_needed` more of its parts have one. It is itself a
    part of the schemas `part_of`.
    """

    n_needed: int = 0
    part_of: "list[_Node]" = field(default_factory=list["_Node"])
    is_finite: bool = False

    def need(self, part: "_Node") -> "_Node":
        self.n_needed += 1
        part.part_of.append(self)
        return part


def bottomless(document: Document) -> Iterator[str]:
    """The names of definitions that no finite value satisfies, such as a list in which every node requires a
    next one. Definitions that depend on a yielded one are judged as if it had a finite value.

    This takes linear time: a part is visited once, when it turns out to have a finite value.
    """
    named = {name: _Node() for name in document.definitions}
    nodes = [*named.values()]
    for name, schema in document.definitions.items():
        nodes += _describe(named[name], schema, named)
    _settle([node for node in nodes if not node.n_needed])
    for name, node in named.items():
        if not node.is_finite:
            yield name
            _settle([node])


def _describe(node: _Node, schema: AnySchema, named: Mapping[str, _Node]) -> Iterator[_Node]:
    """Adds what the schema of a node needs; yields the nodes of its parts. `named` are the definitions."""
    todo: list[tuple[_Node, AnySchema]] = [(node, schema)]
    while todo:
        whole, part = todo.pop()
        if not isinstance(part, Mapping):
            continue
        if "$ref" in part:
            whole.need(named[definition_name(part)])
        parts = [(whole.need(_Node()), each) for each in (*subschemas(part, "allOf"), *_needed(part))]
        if branches := subschemas(part, "anyOf"):
            union = whole.need(_Node())
            parts += [(union.need(_Node()), branch) for branch in branches]
            union.n_needed = 1
            yield union
        yield from (new for new, _ in parts)
        todo += parts


def _settle(finite: list[_Node]) -> None:
    """Marks these nodes as having a finite value, and all that have one because of them."""
    while finite:
        node = finite.pop()
        if node.is_finite:
            continue
        node.is_finite = True
        for whole in node.part_of:
            whole.n_needed -= 1
            if whole.n_needed <= 0:
                finite.append(whole)


def _needed(schema: JsonObject) -> Iterator[AnySchema]:
    """The schemas of the members and items that every value must have."""
    types = types_named(schema)
    properties = schema.get("properties")
    required = schema.get("required")
    if types <= {"object"} and isinstance(properties, Mapping) and isinstance(required, Sequence):
        for name in required:
            yield as_schema(properties.get(str(name), True))
    if types <= {"array"} and schema.get("minItems"):
        yield as_schema(schema.get("items", True))
