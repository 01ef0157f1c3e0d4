"""What kinds of values a schema allows: constants, and types of which more than constants fit.

The types may be too many where parts of a schema contradict each other, or where its references go too deep;
never too few.
"""

from collections.abc import Iterator, Mapping, Sequence

from tessera.core.chat import Json, JsonObject
from tessera.schemas.references import (
    AnySchema,
    Document,
    as_list,
    as_schema,
    definition_name,
    subschemas,
    types_named,
)
from tessera.schemas.work import A_GLANCE, Work

DEEPEST = 64
"""References inside each other beyond which a schema is taken to allow anything."""
CONSTANTS = frozenset({"const", "enum"})
OTHER_KINDS = ("array", "integer", "number", "object")
"""The types, besides strings, that have more values than constants."""

_TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")
_RULES: Mapping[str, frozenset[str]] = {
    "array": frozenset({"items", "prefixItems", "additionalItems", "minItems", "maxItems"}),
    "object": frozenset({"properties", "required", "additionalProperties", "patternProperties"})
    | {"minProperties", "maxProperties"},
}
_BOUNDS: Mapping[str, tuple[str, str]] = {
    "string": ("minLength", "maxLength"),
    "integer": ("minimum", "maximum"),
    "number": ("minimum", "maximum"),
    "array": ("minItems", "maxItems"),
    "object": ("minProperties", "maxProperties"),
}


class ValueKinds:
    """Answers for the schemas of one document."""

    def __init__(self, document: Document, work: Work) -> None:
        """All visits are counted as `work`."""
        self._document, self._work = document, work
        self._open: dict[tuple[str, str], bool] = {}
        self._first: dict[str, set[str]] = {}
        self._depth = 0

    def open_kinds(self, schema: AnySchema) -> set[str]:
        """Which of `OTHER_KINDS` fit; integers are left out where all numbers are in. All methods raise
        `TooMuchWork`.
        """
        kinds = {kind for kind in OTHER_KINDS if self._is_open(schema, kind)}
        return kinds - {"integer"} if "number" in kinds else kinds

    def _is_open(self, schema: AnySchema, kind: str) -> bool:
        if isinstance(schema, bool):
            return schema
        self._work.spend(A_GLANCE)
        if not admits(schema, kind):
            return False
        if "$ref" in schema and not self._is_definition_open(definition_name(schema), kind):
            return False
        branches = subschemas(schema, "anyOf")
        return all(self._is_open(part, kind) for part in subschemas(schema, "allOf")) and (
            not branches or any(self._is_open(branch, kind) for branch in branches)
        )

    def _is_definition_open(self, name: str, kind: str) -> bool:
        if (name, kind) not in self._open:
            if self._depth == DEEPEST:
                return True
            self._depth += 1
            self._open[name, kind] = self._is_open(self._document.definitions[name], kind)
            self._depth -= 1
        return self._open[name, kind]

    def constants(self, schema: AnySchema) -> list[Json]:
        """The values listed anywhere in the schema for the value itself, and null and the booleans."""
        listed = [value for part in self.in_place(schema) for value in self._counted(part)]
        others: list[tuple[str, Json]] = [("null", None), ("boolean", True), ("boolean", False)]
        return listed + [value for kind, value in others if self._is_open(schema, kind)]

    def _counted(self, schema: JsonObject) -> list[Json]:
        values = _listed(schema)
        self._work.spend(A_GLANCE * len(values))
        return values

    def has_rules(self, schema: AnySchema, kind: str) -> bool:
        """Whether the schema says more of an array or object than its type."""
        rules = _RULES.get(kind, frozenset[str]())
        return any(kind in types_named(part) and part.keys() & rules for part in self.in_place(schema))

    def first_items(self, schema: AnySchema) -> set[str]:
        """The types of what may come first in an array."""
        if isinstance(schema, bool):
            return {*_TYPES} if schema else set()
        self._work.spend(A_GLANCE)
        if not admits(schema, "array"):
            return set()
        first = as_list(schema.get("prefixItems"))
        kinds = self._kinds_of_item(as_schema(first[0] if first else schema.get("items", True)))
        if "$ref" in schema:
            kinds &= self._first_items_of_definition(definition_name(schema))
        for part in subschemas(schema, "allOf"):
            kinds &= self.first_items(part)
        if branches := subschemas(schema, "anyOf"):
            kinds &= set[str]().union(*map(self.first_items, branches))
        return kinds

    def _first_items_of_definition(self, name: str) -> set[str]:
        if name not in self._first:
            if self._depth == DEEPEST:
                return {*_TYPES}
            self._depth += 1
            self._first[name] = self.first_items(self._document.definitions[name])
            self._depth -= 1
        return self._first[name]

    def _kinds_of_item(self, item: AnySchema) -> set[str]:
        if item is True or item == {}:
            return {*_TYPES}
        kinds = set[str]()
        for part in self.in_place(item):
            if part.keys() & CONSTANTS:
                kinds |= {kind for value in _listed(part) for kind in kinds_of(value)}
            elif "type" in part or not part.keys() & {"$ref", "anyOf", "allOf"}:
                kinds |= types_named(part)
        return kinds

    def in_place(self, schema: AnySchema) -> Iterator[JsonObject]:
        """The schemas that speak of the same value: itself, what it refers to and what it combines."""
        seen: set[int] = set()
        todo = [schema]
        while todo:
            part = todo.pop()
            if isinstance(part, bool) or id(part) in seen:
                continue
            seen.add(id(part))
            self._work.spend(A_GLANCE)
            yield part
            if "$ref" in part:
                todo.append(self._document.definitions[definition_name(part)])
            todo += [each for keyword in ("allOf", "anyOf") for each in subschemas(part, keyword)]


def admits(schema: JsonObject, kind: str) -> bool:
    """Whether a schema's own keywords leave values of a type that are no constants."""
    types = types_named(schema)
    if schema.keys() & CONSTANTS or not (kind in types or (kind == "integer" and "number" in types)):
        return False
    least, most = map(schema.get, _BOUNDS.get(kind, ("", "")))
    return not (isinstance(least, int | float) and isinstance(most, int | float) and least > most)


def kinds_of(value: Json) -> set[str]:
    """The types of a value: a whole number has two."""
    match value:
        case None:
            return {"null"}
        case bool():
            return {"boolean"}
        case int() | float():
            return {"number", "integer"} if value == int(value) else {"number"}
        case str():
            return {"string"}
        case Mapping():
            return {"object"}
        case _:
            return {"array"}


def _listed(schema: JsonObject) -> list[Json]:
    values: Sequence[Json] = [schema["const"]] if "const" in schema else as_list(schema.get("enum"))
    return [value for value in values if kinds_of(value) & types_named(schema)]
