"""Whether a value fits a schema, as far as that can be said in few steps.

A verdict is True, False or, where the schema says what is not followed here, None.
"""

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import TypeAlias
from urllib.parse import unquote

from tessera.core.chat import Json, JsonObject
from tessera.schemas.simple_patterns import finds

Verdict: TypeAlias = bool | None
_MOST_STEPS = 3_000
_PATTERN_STEPS = 10
_DEEPEST = 64
# What is not followed, by the type of value that it speaks of.
_OPEN: Mapping[type, frozenset[str]] = {
    str: frozenset({"format"}),
    list: frozenset({"contains", "uniqueItems", "unevaluatedItems"}),
    dict: frozenset({"dependencies", "dependentSchemas", "dependentRequired"})
    | {"unevaluatedProperties", "propertyNames"},
}
_OPEN_ALWAYS = frozenset({"$dynamicRef", "$recursiveRef"})
_SIZES: Mapping[type, tuple[str, str]] = {
    str: ("minLength", "maxLength"),
    list: ("minItems", "maxItems"),
    dict: ("minProperties", "maxProperties"),
}


class TooLong(Exception):
    """A verdict would take more steps than are allowed."""


class ShortCheck:
    """Checks by one document, within a common number of steps. Values are those of `json.loads`."""

    def __init__(self, root: JsonObject) -> None:
        self._root = root
        self._n_steps = self._depth = 0

    def step(self, n_steps: int = 1) -> None:
        """Counts work that is about to be done; raises `TooLong`."""
        self._n_steps += n_steps
        if self._n_steps > _MOST_STEPS:
            raise TooLong

    def referred_to(self, reference: str) -> Json:
        """What a reference points at."""
        self.step(1 + reference.count("/"))
        return referred_to(self._root, reference)

    def holds(self, schema: Json, value: Json) -> Verdict:
        """Whether the value fits."""
        self.step()
        if not isinstance(schema, Mapping):
            return schema is not False
        if self._depth == _DEEPEST:
            return None
        self._depth += 1
        try:
            return _all(self._verdicts(schema, value))
        finally:
            self._depth -= 1

    def _verdicts(self, schema: JsonObject, value: Json) -> Iterator[Verdict]:
        """What each keyword says."""
        yield _typed(schema.get("type"), value)
        for keyword, constants in (("const", [schema.get("const")]), ("enum", as_items(schema.get("enum")))):
            if keyword in schema:
                self.step(sum(map(_weight, constants)))
                yield any(same(constant, value) for constant in constants)
        if _is_number(value):
            yield from _within(schema, value)
        elif isinstance(value, str | list | Mapping):
            yield from _sized(schema, value)
        if schema.keys() & (_OPEN.get(type(value), frozenset()) | _OPEN_ALWAYS):
            yield None
        if isinstance(value, str) and isinstance(pattern := schema.get("pattern"), str):
            yield self._finds(pattern, value)
        elif isinstance(value, list):
            yield from self._of_items(schema, value)
        elif isinstance(value, Mapping):
            yield from self._of_members(schema, value)
        yield from self._in_place(schema, value)

    def _in_place(self, schema: JsonObject, value: Json) -> Iterator[Verdict]:
        """What is said of the same value by other schemas."""
        if isinstance(reference := schema.get("$ref"), str):
            yield self.holds(self.referred_to(reference), value)
        yield from (self.holds(each, value) for each in as_items(schema.get("allOf")))
        if branches := as_items(schema.get("anyOf")):
            yield _not(_all(_not(self.holds(branch, value)) for branch in branches))
        if branches := as_items(schema.get("oneOf")):
            yield _one([self.holds(branch, value) for branch in branches])
        if "not" in schema:
            yield _not(self.holds(schema["not"], value))
        if "if" in schema:
            condition = self.holds(schema["if"], value)
            if condition is None:
                yield None
            else:
                yield self.holds(schema.get("then" if condition else "else", True), value)

    def _of_items(self, schema: JsonObject, items: list[Json]) -> Iterator[Verdict]:
        rule = schema.get("items", True)
        first, rest = as_items(schema.get("prefixItems")), rule
        if isinstance(rule, list):  # drafts before 2020-12
            first, rest = rule, schema.get("additionalItems", True)
        for i, item in enumerate(items):
            yield self.holds(first[i] if i < len(first) else rest, item)

    def _of_members(self, schema: JsonObject, members: JsonObject) -> Iterator[Verdict]:
        required = as_items(schema.get("required"))
        self.step(len(required))
        yield all(name in members for name in required if isinstance(name, str))
        properties = schema.get("properties")
        listed: JsonObject = properties if isinstance(properties, Mapping) else {}
        others = schema.get("additionalProperties", True)
        for name, member in members.items():
            by_pattern = self.rules_by_pattern(schema, name)
            if name in listed:
                yield self.holds(listed[name], member)
            elif not by_pattern:
                yield None if by_pattern is None else self.holds(others, member)
            yield _all(self.holds(rule, member) for rule in by_pattern or ())

    def rules_by_pattern(self, schema: JsonObject, name: str) -> list[Json] | None:
        """What `patternProperties` says of a member of that name; None where that is open."""
        by_pattern = schema.get("patternProperties")
        if not isinstance(by_pattern, Mapping):
            return []
        found = [(self._finds(pattern, name), rule) for pattern, rule in by_pattern.items()]
        return None if any(fits is None for fits, _ in found) else [rule for fits, rule in found if fits]

    def _finds(self, pattern: str, text: str) -> Verdict:
        self.step(_PATTERN_STEPS)
        return finds(pattern, text)


def referred_to(root: JsonObject, reference: str) -> Json:
    """What a reference within a schema points at; anything is allowed by one that points nowhere."""
    at: Json = root
    if not reference.startswith("#"):
        return True
    for part in unquote(reference[1:]).split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(at, Mapping):
            at = at.get(key, True)
        elif (items := as_items(at)) and key.isdecimal() and int(key) < len(items):
            at = items[int(key)]
        else:
            return True
    return at


def as_items(value: Json) -> list[Json]:
    """The items of an array; nothing for other values."""
    return value if isinstance(value, list) else [*value] if isinstance(value, tuple) else []


def same(left: Json, right: Json) -> bool:
    """Equality of JSON: 1 is 1.0, and is not true."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if _is_number(left) and _is_number(right):
        return _exact(left) == _exact(right)
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(same(left[name], right[name]) for name in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and left == right


def _weight(value: Json) -> int:
    """How many values there are in a value, itself included."""
    if isinstance(value, Mapping):
        return 1 + sum(map(_weight, value.values()))
    return 1 + sum(map(_weight, as_items(value)))


def _all(verdicts: Iterator[Verdict]) -> Verdict:
    known = True
    for verdict in verdicts:
        if verdict is False:
            return False
        known = known and verdict is not None
    return True if known else None


def _not(verdict: Verdict) -> Verdict:
    return None if verdict is None else not verdict


def _one(verdicts: list[Verdict]) -> Verdict:
    if verdicts.count(True) > 1:
        return False
    return None if None in verdicts else True in verdicts


def _typed(types: Json, value: Json) -> bool:
    names = [types] if isinstance(types, str) else as_items(types)
    return not names or any(name in names for name in _types_of(value))


def _types_of(value: Json) -> tuple[str, ...]:
    match value:
        case None:
            return ("null",)
        case bool():
            return ("boolean",)
        case str():
            return ("string",)
        case Mapping():
            return ("object",)
        case list() | tuple():
            return ("array",)
        case _:
            return ("integer", "number") if _is_whole(value) else ("number",)


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) or (isinstance(value, Decimal) and value == value.to_integral_value())


def _exact(value: Json) -> int | Decimal:
    """A number as it is written."""
    return Decimal(repr(value)) if isinstance(value, float) else value  # pyright: ignore[reportReturnType]


_LIMITS: Mapping[str, Callable[[int | Decimal, int | Decimal], bool]] = {
    "minimum": lambda value, limit: value >= limit,
    "maximum": lambda value, limit: value <= limit,
    "exclusiveMinimum": lambda value, limit: value > limit,
    "exclusiveMaximum": lambda value, limit: value < limit,
    "multipleOf": lambda value, limit: not value % limit,
}


def _within(schema: JsonObject, value: Json) -> Iterator[Verdict]:
    for keyword, fits in _LIMITS.items():
        limit = schema.get(keyword)
        if limit is True:  # draft 4: the other keyword's limit is excluded
            limit = schema.get(keyword.replace("exclusiveM", "m"))
        if _is_number(limit):
            try:
                yield fits(_exact(value), _exact(limit))
            except (InvalidOperation, ZeroDivisionError):
                yield None


def _sized(schema: JsonObject, value: "str | list[Json] | JsonObject") -> Iterator[Verdict]:
    least, most = (
        schema.get(keyword) for keyword in _SIZES[dict if isinstance(value, Mapping) else type(value)]
    )
    if isinstance(least, int | float):
        yield len(value) >= least
    if isinstance(most, int | float):
        yield len(value) <= most
