"""The types of JSON Schema, of values and in schemas, and when two values are equal."""

from collections.abc import Mapping
from decimal import Decimal

from tessera.core.chat import Json, JsonObject

TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")


_WHOLE = frozenset(("integer", "number"))
_FRACTION = frozenset(("number",))
_ALONE = {name: frozenset((name,)) for name in TYPES}


def types_of(value: Json) -> frozenset[str]:
    """The types of a value: a whole number has two. Numbers may be `Decimal`."""
    match value:
        case None:
            return _ALONE["null"]
        case bool():
            return _ALONE["boolean"]
        case str():
            return _ALONE["string"]
        case int():
            return _WHOLE
        case Mapping():
            return _ALONE["object"]
        case _ if is_number(value):
            number = Decimal(exact(value))
            return _WHOLE if number == number.to_integral_value() else _FRACTION
        case _:
            return _ALONE["array"]


def types_named(schema: JsonObject) -> frozenset[str]:
    """The types that `type` names; every type where it names none. It counts whole numbers as integers, so
    "number" brings "integer" with it.
    """
    match schema.get("type"):
        case str(name):
            names = frozenset((name,))
        case [*several] if several:
            names = frozenset(str(name) for name in several)
        case _:
            return frozenset(TYPES)
    return names | {"integer"} if "number" in names else names


def is_number(value: Json) -> bool:
    """Whether the value is a JSON number; a boolean is none."""
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def exact(number: Json) -> int | Decimal:
    """A number with the digits that it is written with."""
    return Decimal(repr(number)) if isinstance(number, float) else number  # pyright: ignore[reportReturnType]


def equal(left: Json, right: Json) -> bool:
    """Equality of JSON: 1 equals 1.0 but not true."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if is_number(left) and is_number(right):
        return exact(left) == exact(right)
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(equal(left[name], right[name]) for name in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(equal, left, right))
    return type(left) is type(right) and left == right
