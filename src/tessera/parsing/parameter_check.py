"""Whether a value may be given to one parameter of a function, by all that the schema says.

Raw text can often be read in two ways, as JSON and as a string. Which of them is meant is decided by which
of them is valid, so that a text that a grammar admits for one of its readings is never read as another that
the tool would refuse.

Validators try every branch, so references that fan out cost them exponential time. What they would visit is
therefore counted first.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from itertools import islice
from typing import cast
from urllib.parse import unquote

import jsonschema_rs

from tessera.core.chat import Json, JsonObject

_PATTERNS = jsonschema_rs.RegexOptions(size_limit=2**22)
_MOST_VISITS = 3_000
# Keywords whose cost is not counted, or whose references are not followed, here.
_UNCOUNTED = {"$dynamicRef", "$recursiveRef", "unevaluatedProperties", "unevaluatedItems"}
_SAME_VALUE = ("not", "if", "then", "else", "allOf", "anyOf", "oneOf")
_EACH_ITEM = ("items", "prefixItems", "additionalItems", "contains")
_EACH_MEMBER = ("additionalProperties", "propertyNames")


class ParameterCheck:
    """The schema is compiled when the first value is checked: most calls need no check."""

    def __init__(self, schema: JsonObject) -> None:
        self._schema = schema
        self._validator: jsonschema_rs.Validator | None = None
        self._compiled = False

    def allows(self, name: str, json_text: str, before: JsonObject) -> bool:
        """Whether `name` may be what `json_text` says beside the arguments `before` it, whatever follows.

        Everything is allowed where the schema cannot be compiled or the check would cost too much: the final
        validation has the last word.
        """
        try:
            arguments = {**before, name: json.loads(json_text, parse_float=Decimal)}
        except (ValueError, RecursionError):
            return True
        if not _is_cheap(self._schema, arguments) or (validator := self._compile()) is None:
            return True
        return not any(_blames(error, name) for error in validator.iter_errors(arguments))

    def _compile(self) -> jsonschema_rs.Validator | None:
        if not self._compiled:
            self._compiled = True
            with suppress(jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError):
                self._validator = jsonschema_rs.validator_for(
                    dict(self._schema), validate_formats=True, offline=True, pattern_options=_PATTERNS
                )
        return self._validator


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
    return [*value] if isinstance(value, list | tuple) else []


def _blames(error: jsonschema_rs.ValidationError, name: str) -> bool:
    """Whether the value of `name` is at fault. In a union of whole objects, it is where no branch fits the
    values there are; what is missing may follow.
    """
    if error.instance_path:
        return error.instance_path[0] == name
    return _is_about_a_value(error)


def _is_about_a_value(error: jsonschema_rs.ValidationError) -> bool:
    branches = getattr(error.kind, "context", None)
    return bool(error.instance_path) or (
        bool(branches) and all(any(map(_is_about_a_value, branch)) for branch in branches)
    )


def _is_cheap(root: JsonObject, value: Json) -> bool:
    """Whether a validator visits few pairs of a schema and a value."""
    todo: list[tuple[Json, Json]] = [(root, value)]
    for _ in range(_MOST_VISITS):
        if not todo:
            return True
        schema, value = todo.pop()
        if isinstance(schema, Mapping):
            if schema.keys() & _UNCOUNTED:
                return False
            todo += islice(_visited_next(root, schema, value), _MOST_VISITS)
    return False


def _visited_next(root: JsonObject, schema: JsonObject, value: Json) -> Iterator[tuple[Json, Json]]:
    if isinstance(reference := schema.get("$ref"), str):
        yield referred_to(root, reference), value
    for keyword in _SAME_VALUE:
        yield from ((each, value) for each in _schemas(schema.get(keyword)))
    for keyword in ("dependentSchemas", "dependencies"):
        yield from ((each, value) for each in _named(schema.get(keyword)).values())
    if isinstance(value, Mapping):
        members = cast("JsonObject", value)
        properties = _named(schema.get("properties"))
        yield from ((properties[name], each) for name, each in members.items() if name in properties)
        others = [*_named(schema.get("patternProperties")).values(), *map(schema.get, _EACH_MEMBER)]
        yield from ((other, each) for other in others for each in members.values())
    elif items := as_items(value):
        rules = [rule for keyword in _EACH_ITEM for rule in _schemas(schema.get(keyword))]
        yield from ((rule, item) for rule in rules for item in items)


def _schemas(value: Json) -> list[Json]:
    return as_items(value) or [value]


def _named(value: Json) -> JsonObject:
    return value if isinstance(value, Mapping) else {}
