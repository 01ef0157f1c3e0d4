"""What a JSON Schema says about the parameters of a function, as far as reading raw text needs it.

A text may be JSON and a string at once, such as `5`. What it is read as:

- by the types and constants that the schema allows, only one of the two can be meant: that one;
- both can be meant: JSON if it is valid, else the string. But where the text is valid as a string, JSON in
  quotes is that string, quotes included, and so is a number, a boolean or null with blanks around it, for a
  replayed call would show neither as it was written.

So every string that is not also JSON of another allowed type is written as it is, and a call is replayed as
it was written. Keywords that are malformed say nothing.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import NoReturn, cast

from tessera.core.chat import Json, JsonObject
from tessera.schemas.parameter_check import ParameterCheck
from tessera.schemas.short_check import referred_to

_TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")
_ANY_TYPE: frozenset[str] = frozenset(_TYPES)
_TEXT_ONLY = frozenset({"string"})
_NO_TYPE: frozenset[str] = frozenset()

# Deeper than any schema people write; beyond it everything is allowed.
_DEEPEST = 64
_MOST_PARTS = 1_000
"""Looked at for one value. What they leave open is allowed."""
_BLANKS = " \t\r\n"
_NOTHING: JsonObject = {}


class Signature:
    """The parameters of one function. `names` are those that the schema lists; with `is_union`, what one may
    be depends on others. There must be at least `least`.

    This runs in the event loop, on schemas that clients send: each part of one is looked at once for its
    types, and a bounded number of parts for each value.
    """

    def __init__(self, schema: JsonObject) -> None:
        self._root = schema
        holding = [*self._parts()]
        self._properties = {**_joined("anyOf", self._parts(_choices)), **_joined("allOf", holding)}
        self._unlisted: Json = {"allOf": [_unlisted(part) for part in holding]}
        self._types: dict[int, frozenset[str]] = {}
        self._check = ParameterCheck(schema)
        self.is_union = any(True for part in holding for _ in _choices(part))
        counts = [part.get("minProperties") for part in holding]
        self.least = max((int(count) for count in counts if isinstance(count, int | float)), default=0)
        self.names = tuple(self._properties)

    def only_text(self, name: str) -> bool:
        """Whether the value can only be a string."""
        return self._types_of(self._schema(name)) == _TEXT_ONLY

    def fits(self, name: str, value: Json) -> bool:
        """Whether `value` is valid for the parameter, as far as it does not depend on other parameters."""
        return self._allows(self._schema(name), value) and self._check.allows(name, json.dumps(value), {})

    def read(self, name: str, text: str, before: JsonObject = _NOTHING) -> str:
        """The JSON text of a value that was written as `text`, after the arguments `before`."""
        schema, string = self._schema(name), json.dumps(text, ensure_ascii=False)
        try:
            value: Json = json.loads(text, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return string
        if not self._allows(schema, value):
            return string
        if self._allows(schema, text):
            is_json = not isinstance(value, str) and _is_replayed(text, value)
            if not (is_json and self._check.allows(name, text, before)):
                return string if self._check.allows(name, string, before) else text.strip(_BLANKS)
        return text.strip(_BLANKS)

    def _schema(self, name: str) -> Json:
        return self._properties.get(name, self._unlisted)

    def _types_of(self, schema: Json) -> frozenset[str]:
        """The types that a schema allows."""
        todo = [schema]
        while todo:
            part = todo[-1]
            if not isinstance(part, Mapping):
                todo.pop()
                continue
            inner = [*self._all_of(part), *chain.from_iterable(_choices(part))]
            new = [each for each in inner if isinstance(each, Mapping) and id(each) not in self._types]
            if new and id(part) not in self._types:
                self._types[id(part)] = _ANY_TYPE  # for a part that refers back to this one
                todo += new
                continue
            todo.pop()
            types = _own_types(part).intersection(*map(self._known_types, self._all_of(part)))
            for choice in _choices(part):
                types &= frozenset().union(*map(self._known_types, choice))
            self._types[id(part)] = types
        return self._known_types(schema)

    def _known_types(self, schema: Json) -> frozenset[str]:
        if isinstance(schema, Mapping):
            return self._types[id(schema)]
        return _NO_TYPE if schema is False else _ANY_TYPE

    def _allows(self, schema: Json, value: Json) -> bool:
        """Whether the schema allows a value, as far as types and constants say. Every part is asked once, so
        that references that fan out, or come back, cost nothing.
        """
        if not self._types_of(schema).intersection(_kinds(value)):
            return False
        seen: dict[int, bool] = {}

        def ask(schema: Json, depth: int) -> bool:
            if not isinstance(schema, Mapping):
                return schema is not False
            if depth > _DEEPEST or id(schema) in seen or len(seen) == _MOST_PARTS:
                return seen.get(id(schema), True)
            seen[id(schema)] = True
            seen[id(schema)] = (
                _fits(schema, value)
                and all(ask(each, depth + 1) for each in self._all_of(schema))
                and all(any(ask(each, depth + 1) for each in choice) for choice in _choices(schema))
            )
            return seen[id(schema)]

        return ask(schema, 0)

    def _all_of(self, schema: JsonObject) -> Iterator[Json]:
        if isinstance(pointer := schema.get("$ref"), str):
            yield referred_to(self._root, pointer)
        yield from _list(schema.get("allOf"))

    def _parts(self, *further: Callable[[JsonObject], Iterator[Sequence[Json]]]) -> Iterator[JsonObject]:
        """The schemas that hold for the arguments as a whole, or, with `_choices`, may hold."""
        seen: set[int] = set()
        todo: deque[Json] = deque([self._root])
        while todo:
            schema = todo.popleft()
            if not isinstance(schema, Mapping) or id(schema) in seen:
                continue
            seen.add(id(schema))
            todo += self._all_of(schema)
            todo += [each for choices in further for choice in choices(schema) for each in choice]
            yield schema


def _joined(keyword: str, parts: Iterable[JsonObject]) -> JsonObject:
    """By name, what parts say of a property."""
    found: dict[str, list[Json]] = {}
    for part in parts:
        if isinstance(properties := part.get("properties"), Mapping):
            for name, each in properties.items():
                found.setdefault(name, []).append(each)
    return {name: each[0] if len(each) == 1 else {keyword: each} for name, each in found.items()}


def _unlisted(schema: JsonObject) -> Json:
    """What a schema says of parameters that it does not list, whatever their names are."""
    others = schema.get("additionalProperties", True)
    by_pattern = schema.get("patternProperties")
    if isinstance(by_pattern, Mapping) and by_pattern:
        return {"anyOf": [*by_pattern.values(), others]}
    return others if isinstance(others, Mapping) else True


def _is_replayed(text: str, value: Json) -> bool:
    """Whether a replayed call shows `value` as `text`; of objects and arrays any spelling counts."""
    return isinstance(value, Mapping | list) or text == text.strip(_BLANKS)


def _own_types(schema: JsonObject) -> frozenset[str]:
    """The types that the schema's own keywords allow."""
    allowed = _values(schema)
    kinds = _TYPES if allowed is None else {kind for value in allowed for kind in _kinds(value)}
    return frozenset(kind for kind in kinds if _type_allows(schema.get("type"), kind))


def _fits(schema: JsonObject, value: Json) -> bool:
    allowed = _values(schema)
    return any(_type_allows(schema.get("type"), kind) for kind in _kinds(value)) and (
        allowed is None or any(each == value and _kinds(each) == _kinds(value) for each in allowed)
    )


def _values(schema: JsonObject) -> Sequence[Json] | None:
    if "const" in schema:
        return [schema["const"]]
    return _list(schema.get("enum")) or None


def _type_allows(types: Json, kind: str) -> bool:
    names = [types] if isinstance(types, str) else _list(types)
    return not names or kind in names or (kind == "integer" and "number" in names)


def _kinds(value: Json) -> tuple[str, ...]:
    """The types a value has."""
    match value:
        case None:
            return ("null",)
        case bool():
            return ("boolean",)
        case int():
            return ("integer", "number")
        case float():
            return ("integer", "number") if value.is_integer() else ("number",)
        case str():
            return ("string",)
        case Mapping():
            return ("object",)
        case _:
            return ("array",)


def _choices(schema: JsonObject) -> Iterator[Sequence[Json]]:
    """Alternatives, of each of which one must hold."""
    for keyword in ("anyOf", "oneOf"):
        if alternatives := _list(schema.get(keyword)):
            yield alternatives


def _list(value: Json) -> Sequence[Json]:
    return cast("Sequence[Json]", value) if isinstance(value, list | tuple) else ()


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
