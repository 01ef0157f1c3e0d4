"""The kinds of values that a schema allows: constants, and "open" types, of which more than constants fit.

There may be too many open types, where parts of a schema contradict each other or where its references go too
deep; never too few.
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
)
from tessera.schemas.types import TYPES, types_named, types_of
from tessera.schemas.work import BRIEF_VISIT, Work

DEEPEST = 64
"""A schema behind more references inside each other is taken to allow anything."""
CONSTANTS = frozenset({"const", "enum"})
OTHER_KINDS = ("array", "integer", "number", "object")
"""The types besides strings that can be open."""

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
    """The kinds of values that schemas of one document allow."""

    def __init__(self, document: Document, work: Work) -> None:
        """All visits are counted as `work`. All methods raise `TooMuchWork`."""
        self._document = document
        self._work = work
        self._open: dict[tuple[str, str], bool] = {}
        self._first: dict[str, set[str]] = {}
        self._depth = 0

    def open_kinds(self, schema: AnySchema) -> set[str]:
        """The open types among `OTHER_KINDS`, without integers if all numbers are open."""
        kinds = {kind for kind in OTHER_KINDS if self._is_open(schema, kind)}
        return kinds - {"integer"} if "number" in kinds else kinds

    def _is_open(self, schema: AnySchema, kind: str) -> bool:
        if isinstance(schema, bool):
            return schema
        self._work.spend(BRIEF_VISIT)
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
        """The constants that the schema lists, and null and the booleans if they are allowed."""
        listed = [value for part in self._in_place(schema) for value in self._counted(part)]
        others: list[tuple[str, Json]] = [("null", None), ("boolean", True), ("boolean", False)]
        return listed + [value for kind, value in others if self._is_open(schema, kind)]

    def _counted(self, schema: JsonObject) -> list[Json]:
        values = _listed(schema)
        self._work.spend(BRIEF_VISIT * len(values))
        return values

    def has_rules(self, schema: AnySchema, kind: str) -> bool:
        """Whether the schema restricts an array or object by more than its type."""
        rules = _RULES.get(kind, frozenset[str]())
        return any(kind in types_named(part) and part.keys() & rules for part in self._in_place(schema))

    def first_items(self, schema: AnySchema) -> set[str]:
        """The types that the first item of an array may have."""
        if isinstance(schema, bool):
            return {*TYPES} if schema else set()
        self._work.spend(BRIEF_VISIT)
        if not admits(schema, "array"):
            return set()
        first = as_list(schema.get("prefixItems"))
        kinds = self._types_of_item(as_schema(first[0] if first else schema.get("items", True)))
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
                return {*TYPES}
            self._depth += 1
            self._first[name] = self.first_items(self._document.definitions[name])
            self._depth -= 1
        return self._first[name]

    def _types_of_item(self, item: AnySchema) -> set[str]:
        if item is True or item == {}:
            return {*TYPES}
        types = set[str]()
        for part in self._in_place(item):
            if part.keys() & CONSTANTS:
                types |= {each for value in _listed(part) for each in types_of(value)}
            elif "type" in part or not part.keys() & {"$ref", "anyOf", "allOf"}:
                types |= types_named(part)
        return types

    def _in_place(self, schema: AnySchema) -> Iterator[JsonObject]:
        return self._document.in_place(schema, self._work, "anyOf")


def admits(schema: JsonObject, kind: str) -> bool:
    """Whether a schema's own keywords allow values of a type that are no constants."""
    if schema.keys() & CONSTANTS or kind not in types_named(schema):
        return False
    least, most = map(schema.get, _BOUNDS.get(kind, ("", "")))
    return not (isinstance(least, int | float) and isinstance(most, int | float) and least > most)


def _listed(schema: JsonObject) -> list[Json]:
    values: Sequence[Json] = [schema["const"]] if "const" in schema else as_list(schema.get("enum"))
    return [value for value in values if types_of(value) & types_named(schema)]
