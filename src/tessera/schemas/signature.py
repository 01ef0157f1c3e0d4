"""How the raw text of a parameter is read, by the JSON Schema of its function.

A text may be JSON and a string at once, such as `5`. It is read like this:

- if the types and constants of the schema allow only one of the two, as that one;
- if they allow both, as JSON if that is valid, else as the string. But where the string is valid, JSON in
  quotes is read as the string, quotes included; so is a number, a boolean or null with blanks around it. In a
  replayed call, both would otherwise look different from what the model wrote.

So a string is written as it is unless it is also JSON of another allowed type, and a call is replayed as it
was written. Malformed keywords are ignored.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import NoReturn

from tessera.core.chat import Json, JsonObject
from tessera.schemas.parameter_check import may_be_given
from tessera.schemas.parameters import joined
from tessera.schemas.references import as_list, in_place
from tessera.schemas.short_check import referred_to
from tessera.schemas.types import TYPES, equal, types_named, types_of

_UNIONS = ("anyOf", "oneOf")
_CONDITIONAL = ("then", "else", "dependentSchemas", "dependencies")
_ANY_TYPE = frozenset(TYPES)
_TEXT_ONLY = frozenset(("string",))
# Deeper than any schema people write; beyond it everything is allowed.
_DEEPEST = 64
_MOST_PARTS = 1_000
"""The most parts of a schema that are visited for one value. What the others restrict is allowed."""
_BLANKS = " \t\r\n"
_NOTHING: JsonObject = {}


class Signature:
    """The parameters of one function. `names` are those that the schema lists, also those that it lists on a
    condition. With a `union` (its keyword), the values that one may have depend on others. There must be at
    least `least` parameters.

    This runs in the event loop, on schemas that clients send: the types of each part are found once, and a
    bounded number of parts is visited for each value.
    """

    def __init__(self, schema: JsonObject) -> None:
        self._root = schema
        holding = [*in_place(schema, self._target)]
        possible = in_place(schema, self._target, *_UNIONS, *_CONDITIONAL)
        self._properties = {**joined("anyOf", possible), **joined("allOf", holding)}
        self._unlisted: Json = {"allOf": [_unlisted(part) for part in holding]}
        self._types: dict[int, frozenset[str]] = {}
        unions = (keyword for part in holding for keyword in _UNIONS if as_list(part.get(keyword)))
        self.union = next(unions, None)
        counts = [part.get("minProperties") for part in holding]
        self.least = max((int(count) for count in counts if isinstance(count, int | float)), default=0)
        self.names = tuple(self._properties)

    def only_text(self, name: str) -> bool:
        """Whether the value can only be a string."""
        return self._types_of(self._schema(name)) == _TEXT_ONLY

    def conditional(self) -> list[str]:
        """The names that the schema lists on a condition only."""
        others = joined("anyOf", in_place(self._root, self._target, *_UNIONS))
        return [name for name in self.names if name not in others]

    def fits(self, name: str, value: Json) -> bool:
        """Whether `value` is valid for the parameter, as far as it does not depend on other parameters."""
        return self._allows(self._schema(name), value) and may_be_given(
            self._root, name, json.dumps(value), {}
        )

    def read(self, name: str, text: str, before: JsonObject = _NOTHING) -> str:
        """The JSON text of a value that was written as `text`, after the arguments `before`."""
        schema = self._schema(name)
        string = json.dumps(text, ensure_ascii=False)
        try:
            value: Json = json.loads(text, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return string
        if not self._allows(schema, value):
            return string
        if self._allows(schema, text):
            is_json = not isinstance(value, str) and _is_replayed(text, value)
            if not (is_json and may_be_given(self._root, name, text, before)):
                is_string = may_be_given(self._root, name, string, before)
                return string if is_string else text.strip(_BLANKS)
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
            inner = [*self._all_of(part), *chain.from_iterable(_unions(part))]
            new = [each for each in inner if isinstance(each, Mapping) and id(each) not in self._types]
            if new and id(part) not in self._types:
                self._types[id(part)] = _ANY_TYPE  # for a part that refers back to this one
                todo += new
                continue
            todo.pop()
            types = _own_types(part).intersection(*map(self._known_types, self._all_of(part)))
            for union in _unions(part):
                types &= frozenset[str]().union(*map(self._known_types, union))
            self._types[id(part)] = types
        return self._known_types(schema)

    def _known_types(self, schema: Json) -> frozenset[str]:
        if isinstance(schema, Mapping):
            return self._types[id(schema)]
        return frozenset() if schema is False else _ANY_TYPE

    def _allows(self, schema: Json, value: Json) -> bool:
        """Whether the schema allows a value, as far as types and constants tell. Every part is visited once:
        references that fan out, or form cycles, cost nothing.
        """
        if self._types_of(schema).isdisjoint(types_of(value)):
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
                and all(any(ask(each, depth + 1) for each in union) for union in _unions(schema))
            )
            return seen[id(schema)]

        return ask(schema, 0)

    def _all_of(self, schema: JsonObject) -> Iterator[Json]:
        if isinstance(schema.get("$ref"), str):
            yield self._target(schema)
        yield from as_list(schema.get("allOf"))

    def _target(self, schema: JsonObject) -> Json:
        return referred_to(self._root, str(schema["$ref"]))


def _unlisted(schema: JsonObject) -> Json:
    """The schema for parameters that are not listed, whatever their names are."""
    others = schema.get("additionalProperties", True)
    by_pattern = schema.get("patternProperties")
    if isinstance(by_pattern, Mapping) and by_pattern:
        return {"anyOf": [*by_pattern.values(), others]}
    return others if isinstance(others, Mapping) else True


def _is_replayed(text: str, value: Json) -> bool:
    """Whether a replayed call shows `value` as `text`. Objects and arrays may be spelled in any way."""
    return isinstance(value, Mapping | list) or text == text.strip(_BLANKS)


def _own_types(schema: JsonObject) -> frozenset[str]:
    """The types that the schema's own keywords allow."""
    allowed = _constants(schema)
    named = types_named(schema)
    return named if allowed is None else named.intersection(chain.from_iterable(map(types_of, allowed)))


def _fits(schema: JsonObject, value: Json) -> bool:
    allowed = _constants(schema)
    return not types_named(schema).isdisjoint(types_of(value)) and (
        # Python's own comparison is quick, and takes 1 for true.
        allowed is None or any(each == value and equal(each, value) for each in allowed)
    )


def _constants(schema: JsonObject) -> Sequence[Json] | None:
    return [schema["const"]] if "const" in schema else as_list(schema.get("enum")) or None


def _unions(schema: JsonObject) -> Iterator[Sequence[Json]]:
    """The unions of a schema. One schema of each union must hold."""
    return filter(None, (as_list(schema.get(keyword)) for keyword in _UNIONS))


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
