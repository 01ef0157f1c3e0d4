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
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NoReturn

from tessera.core.chat import Json, JsonObject
from tessera.schemas.parameter_check import ParameterCheck
from tessera.schemas.parameters import joined
from tessera.schemas.references import as_list, in_place
from tessera.schemas.short_check import referred_to
from tessera.schemas.types import TYPES, equal, types_named, types_of

_UNIONS = ("anyOf", "oneOf")
# Deeper than any schema people write; beyond it everything is allowed.
_DEEPEST = 64
_BLANKS = " \t\r\n"
_NOTHING: JsonObject = {}


class Signature:
    """The parameters of one function. `names` are those that the schema lists; with `is_union`, what one may
    be depends on others. There must be at least `least`.
    """

    def __init__(self, schema: JsonObject) -> None:
        self._root = schema
        holding = [*in_place(schema, self._target)]
        possible = in_place(schema, self._target, *_UNIONS)
        self._properties = {**joined("anyOf", possible), **joined("allOf", holding)}
        self._unlisted: Json = {"allOf": [_unlisted(part) for part in holding]}
        self._check = ParameterCheck(schema)
        self.is_union = any(as_list(part.get(keyword)) for part in holding for keyword in _UNIONS)
        counts = [part.get("minProperties") for part in holding]
        self.least = max((int(count) for count in counts if isinstance(count, int | float)), default=0)
        self.names = tuple(self._properties)

    def only_text(self, name: str) -> bool:
        """Whether the value can only be a string."""
        schema = self._schema(name)
        possible = [each for each in TYPES if self._allows(schema, lambda leaf, each=each: _has(leaf, each))]
        return possible == ["string"]

    def fits(self, name: str, value: Json) -> bool:
        """Whether `value` is valid for the parameter, as far as it does not depend on other parameters."""
        fits = self._allows(self._schema(name), lambda leaf: _fits(leaf, value))
        return fits and self._check.allows(name, json.dumps(value), {})

    def read(self, name: str, text: str, before: JsonObject = _NOTHING) -> str:
        """The JSON text of a value that was written as `text`, after the arguments `before`."""
        schema = self._schema(name)
        string = json.dumps(text, ensure_ascii=False)
        try:
            value: Json = json.loads(text, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return string
        if not self._allows(schema, lambda leaf: _fits(leaf, value)):
            return string
        if self._allows(schema, lambda leaf: _fits(leaf, text)):
            is_json = not isinstance(value, str) and _is_replayed(text, value)
            if not (is_json and self._check.allows(name, text, before)):
                return string if self._check.allows(name, string, before) else text.strip(_BLANKS)
        return text.strip(_BLANKS)

    def _schema(self, name: str) -> Json:
        return self._properties.get(name, self._unlisted)

    def _allows(self, schema: Json, leaf: Callable[[JsonObject], bool]) -> bool:
        """Whether the schema allows what its leaves are asked about. Every schema is asked once, so that
        references that fan out, or come back, cost nothing.
        """
        seen: dict[int, bool] = {}

        def ask(schema: Json, depth: int) -> bool:
            if not isinstance(schema, Mapping):
                return schema is not False
            if depth > _DEEPEST or id(schema) in seen:
                return seen.get(id(schema), True)
            seen[id(schema)] = True
            seen[id(schema)] = (
                leaf(schema)
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
    """What a schema says of parameters that it does not list, whatever their names are."""
    others = schema.get("additionalProperties", True)
    by_pattern = schema.get("patternProperties")
    if isinstance(by_pattern, Mapping) and by_pattern:
        return {"anyOf": [*by_pattern.values(), others]}
    return others if isinstance(others, Mapping) else True


def _is_replayed(text: str, value: Json) -> bool:
    """Whether a replayed call shows `value` as `text`; of objects and arrays any spelling counts."""
    return isinstance(value, Mapping | list) or text == text.strip(_BLANKS)


def _has(schema: JsonObject, kind: str) -> bool:
    """Whether the schema's own keywords allow a value of that type."""
    allowed = _constants(schema)
    return kind in types_named(schema) and (
        allowed is None or any(kind in types_of(value) for value in allowed)
    )


def _fits(schema: JsonObject, value: Json) -> bool:
    allowed = _constants(schema)
    return not types_named(schema).isdisjoint(types_of(value)) and (
        allowed is None or any(equal(each, value) for each in allowed)
    )


def _constants(schema: JsonObject) -> Sequence[Json] | None:
    return [schema["const"]] if "const" in schema else as_list(schema.get("enum")) or None


def _unions(schema: JsonObject) -> Iterator[Sequence[Json]]:
    """Lists of schemas, of each of which one must hold."""
    return filter(None, (as_list(schema.get(keyword)) for keyword in _UNIONS))


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
