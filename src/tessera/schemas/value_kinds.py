"""The kinds of values that a schema allows: constants, and "open" types, of which more than constants fit.

There may be too many open types, where parts of a schema contradict each other or where following its
references takes too long; never too few.
"""

from collections.abc import Iterator, Mapping, Sequence

from tessera.core.chat import Json, JsonObject
from tessera.schemas.references import (
    AnySchema,
    Document,
    as_list,
    as_schema,
    definition_name,
    in_place,
    subschemas,
)
from tessera.schemas.types import types_named, types_of

DEEPEST = 64
"""A schema behind more references inside each other is taken to allow anything."""
_MOST_VISITS = 50_000
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

    def __init__(self, document: Document) -> None:
        self._document = document
        self._open: dict[tuple[str, str], bool] = {}
        self._depth = 0
        self._n_visits = 0

    def open_kinds(self, schema: AnySchema) -> set[str]:
        """The open types among `OTHER_KINDS`, without integers if all numbers are open."""
        kinds = {kind for kind in OTHER_KINDS if self._is_open(schema, kind)}
        return kinds - {"integer"} if "number" in kinds else kinds

    def _is_open(self, schema: AnySchema, kind: str) -> bool:
        if isinstance(schema, bool):
            return schema
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
        listed = [value for part in self.in_place(schema) for value in _listed(part)]
        others: list[tuple[str, Json]] = [("null", None), ("boolean", True), ("boolean", False)]
        return listed + [value for kind, value in others if self._is_open(schema, kind)]

    def has_rules(self, schema: AnySchema, kind: str) -> bool:
        """Whether the schema restricts an array or object by more than its type."""
        rules = _RULES.get(kind, frozenset[str]())
        return any(kind in types_named(part) and part.keys() & rules for part in self.in_place(schema))

    def first_items(self, schema: AnySchema) -> set[str]:
        """The types that the first item of an array may have."""
        items = [
            as_schema(next(iter(as_list(part.get("prefixItems"))), part.get("items", True)))
            for part in self.in_place(schema)
            if "array" in types_named(part) and part.keys() & (_RULES["array"] | {"type"})
        ]
        kinds: set[str] = set()
        for item in items or [True]:
            nothing: JsonObject = {}
            for part in [nothing] if item is True else self.in_place(item):
                if part.keys() & CONSTANTS:
                    kinds |= {kind for value in _listed(part) for kind in types_of(value)}
                elif "type" in part or not part.keys() & {"$ref", "anyOf", "allOf"}:
                    kinds |= types_named(part)
        return kinds

    def in_place(self, schema: AnySchema) -> Iterator[JsonObject]:
        """The schemas that apply to the same value: itself, what it refers to and what it combines."""
        if self._n_visits < _MOST_VISITS:
            for part in in_place(schema, self._document.target, "anyOf"):
                self._n_visits += 1
                yield part


def admits(schema: JsonObject, kind: str) -> bool:
    """Whether a schema's own keywords allow values of a type that are no constants."""
    if schema.keys() & CONSTANTS or kind not in types_named(schema):
        return False
    least, most = map(schema.get, _BOUNDS.get(kind, ("", "")))
    return not (isinstance(least, int | float) and isinstance(most, int | float) and least > most)


def _listed(schema: JsonObject) -> list[Json]:
    values: Sequence[Json] = [schema["const"]] if "const" in schema else as_list(schema.get("enum"))
    return [value for value in values if types_of(value) & types_named(schema)]
