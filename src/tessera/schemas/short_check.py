"""Whether a value fits a schema, as far as a bounded number of steps can tell.

A verdict is None where it depends on keywords that are not checked here.
"""

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import TypeAlias
from urllib.parse import unquote

from tessera.core.chat import Json, JsonObject
from tessera.schemas.references import as_list, at_pointer
from tessera.schemas.simple_patterns import finds
from tessera.schemas.types import equal, exact, is_number, types_named, types_of

Verdict: TypeAlias = bool | None
_MOST_STEPS = 3_000
_PATTERN_STEPS = 10
_DEEPEST = 64
# Keywords that are not checked, by the type of value that they restrict.
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
    """Checks values against schemas of one document. All checks share one budget of steps. Values are those
    of `json.loads`.
    """

    def __init__(self, root: JsonObject) -> None:
        self._root = root
        self._n_steps = 0
        self._depth = 0

    def step(self, n_steps: int = 1) -> None:
        """Counts work that is about to be done; raises `TooLong`."""
        self._n_steps += n_steps
        if self._n_steps > _MOST_STEPS:
            raise TooLong

    def referred_to(self, reference: str) -> Json:
        """The schema that a reference points at."""
        self.step(1 + reference.count("/"))
        return referred_to(self._root, reference)

    def holds(self, schema: Json, value: Json) -> Verdict:
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
        """One verdict for each keyword."""
        yield not types_named(schema).isdisjoint(types_of(value))
        for keyword, constants in (("const", [schema.get("const")]), ("enum", as_list(schema.get("enum")))):
            if keyword in schema and (keyword == "const" or schema[keyword] is not None):
                self.step(sum(map(_weight, constants)))
                yield any(equal(constant, value) for constant in constants)
        if is_number(value):
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
        """The verdicts of other schemas on the same value."""
        if isinstance(reference := schema.get("$ref"), str):
            yield self.holds(self.referred_to(reference), value)
        yield from (self.holds(each, value) for each in as_list(schema.get("allOf")))
        if branches := as_list(schema.get("anyOf")):
            yield _not(_all(_not(self.holds(branch, value)) for branch in branches))
        if branches := as_list(schema.get("oneOf")):
            yield _one([self.holds(branch, value) for branch in branches])
        if (excluded := schema.get("not")) is not None:
            yield _not(self.holds(excluded, value))
        if (asked := schema.get("if")) is not None:
            condition = self.holds(asked, value)
            if condition is None:
                yield None
            else:
                yield self.holds(schema.get("then" if condition else "else", True), value)

    def _of_items(self, schema: JsonObject, items: list[Json]) -> Iterator[Verdict]:
        rule = schema.get("items", True)
        first = as_list(schema.get("prefixItems"))
        rest = rule
        if isinstance(rule, list):  # drafts before 2020-12
            first = rule
            rest = schema.get("additionalItems", True)
        for i, item in enumerate(items):
            yield self.holds(first[i] if i < len(first) else rest, item)

    def _of_members(self, schema: JsonObject, members: JsonObject) -> Iterator[Verdict]:
        required = as_list(schema.get("required"))
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
        """The schemas in `patternProperties` for a member of that name; None where that is not decided."""
        by_pattern = schema.get("patternProperties")
        if not isinstance(by_pattern, Mapping):
            return []
        found = [(self._finds(pattern, name), rule) for pattern, rule in by_pattern.items()]
        return None if any(fits is None for fits, _ in found) else [rule for fits, rule in found if fits]

    def _finds(self, pattern: str, text: str) -> Verdict:
        self.step(_PATTERN_STEPS)
        return finds(pattern, text)


def referred_to(root: Json, reference: str) -> Json:
    """What a reference within a schema points at; a reference to nothing in it allows anything."""
    pointer = unquote(reference[1:])
    if not reference.startswith("#") or (pointer and not pointer.startswith("/")):
        return True
    try:
        return at_pointer(root, pointer)
    except LookupError:
        return True


def _weight(value: Json) -> int:
    """How many values there are in a value, itself included."""
    if isinstance(value, Mapping):
        return 1 + sum(map(_weight, value.values()))
    return 1 + sum(map(_weight, as_list(value)))


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
        if is_number(limit):
            try:
                yield fits(exact(value), exact(limit))
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
