"""Whether the branches of a `oneOf` exclude each other, so that it equals the `anyOf` a grammar can hold.

Only what can be seen is claimed: branches of different types, of different constants, or objects told apart
by a property, as discriminated unions are.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import TypeAlias

from tessera.core.chat import Json, JsonObject
from tessera.schemas.references import AnySchema, as_schema, subschemas, types_named

Resolve: TypeAlias = Callable[[AnySchema], AnySchema]

_MAX_BRANCHES = 64
_MAX_DEPTH = 6
_MAX_PAIRS = 50_000


def exclusive(branches: Sequence[AnySchema], resolve: Resolve) -> bool:
    """Whether no value fits two of the branches. `resolve` follows references."""
    if len(branches) > _MAX_BRANCHES:
        return False
    comparison = _Comparison(resolve)
    return all(comparison.apart(a, b, _MAX_DEPTH) for a, b in combinations(branches, 2))


class _Comparison:
    """Compares schemas two by two, each pair once; after `_MAX_PAIRS` nothing is seen any more."""

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._known: dict[tuple[int, int, int], bool] = {}

    def apart(self, left: AnySchema, right: AnySchema, depth: int) -> bool:
        a, b = self._resolve(left), self._resolve(right)
        if a is False or b is False:
            return True
        if isinstance(a, bool) or isinstance(b, bool) or not depth:
            return False
        pair = (id(a), id(b), depth)
        if pair not in self._known:
            if len(self._known) >= _MAX_PAIRS:
                return False
            self._known[pair] = False
            self._known[pair] = self._are_apart(a, b, depth)
        return self._known[pair]

    def _are_apart(self, a: JsonObject, b: JsonObject, depth: int) -> bool:
        if not _types(a) & _types(b):
            return True
        constants = _constants(a), _constants(b)
        if constants[0] is not None and constants[1] is not None and not constants[0] & constants[1]:
            return True
        for one, other in ((a, b), (b, a)):
            options = subschemas(one, "anyOf")
            if options and all(self.apart(option, other, depth - 1) for option in options):
                return True
        if _types(a) & _types(b) == {"object"}:
            names = sorted(_required(a) | _required(b), key=lambda name: not _is_tag(_property(a, name)))
            return any(self.apart(_property(a, name), _property(b, name), depth - 1) for name in names)
        return False


def _is_tag(schema: AnySchema) -> bool:
    """Whether a property has constants, as the one that tells the branches of a discriminated union apart."""
    return isinstance(schema, Mapping) and ("const" in schema or "enum" in schema)


def _property(schema: JsonObject, name: str) -> AnySchema:
    properties = schema.get("properties")
    if isinstance(properties, dict) and name in properties:
        return as_schema(properties[name])
    if "patternProperties" in schema:
        return True
    return as_schema(schema.get("additionalProperties", True))


def _required(schema: JsonObject) -> set[str]:
    required = schema.get("required")
    return {str(name) for name in required} if isinstance(required, Sequence) else set()


def _types(schema: JsonObject) -> set[str]:
    """An integer is a number too, and so is 1.0 an integer: they are one type here."""
    return {"number" if name == "integer" else name for name in types_named(schema)}


def _constants(schema: JsonObject) -> set[str] | None:
    if "const" in schema:
        return {_key(schema["const"])}
    if isinstance(values := schema.get("enum"), Sequence):
        return {_key(value) for value in values}
    return None


def _key(value: Json) -> str:
    """Equal for equal JSON values: 1 is 1.0, and is not true."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, sort_keys=True)
