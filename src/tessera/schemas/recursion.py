"""Cycles of references: those without meaning, and those that no finite value satisfies."""

from collections.abc import Iterator, Mapping, Sequence

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
            below = as_schema(at_pointer(schema, pointer))
            todo += (to for at, node in walk(below, pointer) for to in _references(node, at, resolver))
            leads[pointer] = set(_in_place(below, pointer, resolver))
    return _on_a_circle(leads)


def _on_a_circle(leads: Mapping[str, set[str]]) -> str | None:
    """The first node that leads to a cycle; None if there is no cycle."""
    before: dict[str, list[str]] = {name: [] for name in leads}
    for name, to in leads.items():
        for each in to:
            before[each].append(name)
    n_left = {name: len(to) for name, to in leads.items()}
    ends = [name for name, n in n_left.items() if not n]
    while ends:
        for name in before[ends.pop()]:
            n_left[name] -= 1
            if not n_left[name]:
                ends.append(name)
    return next((name for name, n in n_left.items() if n), None)


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


def bottomless(document: Document) -> Iterator[str]:
    """The names of definitions that no finite value satisfies, such as a list in which every node requires a
    next one. Definitions that depend on a yielded one are judged as if it had a finite value.
    """
    values = _Finite()
    nodes = {name: values.node() for name in document.definitions}
    for name, schema in document.definitions.items():
        values.describe(nodes[name], schema, nodes)
    values.settle()
    for name, node in nodes.items():
        if not values.is_finite(node):
            yield name
            values.assume(node)


class _Finite:
    """Finds the schemas that have a finite value: a schema has one if enough of its parts have. This takes
    linear time: a part is visited once, when it turns out to have one.
    """

    def __init__(self) -> None:
        self._n_needed: list[int] = []
        self._part_of: list[list[int]] = []
        self._finite: list[bool] = []
        self._new: list[int] = []

    def node(self) -> int:
        """Adds a node that needs nothing yet."""
        self._n_needed.append(0)
        self._part_of.append([])
        self._finite.append(False)
        return len(self._finite) - 1

    def describe(self, node: int, schema: AnySchema, named: Mapping[str, int]) -> None:
        """Adds what the schema of a node needs. `named` are the nodes of the definitions."""
        todo: list[tuple[int, AnySchema]] = [(node, schema)]
        while todo:
            whole, part = todo.pop()
            if not isinstance(part, Mapping):
                continue
            if "$ref" in part:
                self._need(whole, named[definition_name(part)])
            for each in (*subschemas(part, "allOf"), *_needed(part)):
                todo.append((self._need(whole, self.node()), each))
            if branches := subschemas(part, "anyOf"):
                any_of = self._need(whole, self.node())
                self._n_needed[any_of] = 1
                for branch in branches:
                    option = self.node()
                    self._part_of[option].append(any_of)
                    todo.append((option, branch))

    def _need(self, whole: int, part: int) -> int:
        self._n_needed[whole] += 1
        self._part_of[part].append(whole)
        return part

    def settle(self) -> None:
        """Finds the nodes with finite values, once all schemas are described."""
        for node, n_needed in enumerate(self._n_needed):
            if n_needed <= 0:
                self._mark(node)
        self._spread()

    def assume(self, node: int) -> None:
        """Treats a node as having a finite value."""
        self._mark(node)
        self._spread()

    def is_finite(self, node: int) -> bool:
        return self._finite[node]

    def _mark(self, node: int) -> None:
        if not self._finite[node]:
            self._finite[node] = True
            self._new.append(node)

    def _spread(self) -> None:
        while self._new:
            for whole in self._part_of[self._new.pop()]:
                self._n_needed[whole] -= 1
                if self._n_needed[whole] <= 0:
                    self._mark(whole)


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
