"""Which draft of JSON Schema a schema is written in, and the forms of older drafts as those of 2020-12."""

import re
from collections.abc import Iterator, Mapping
from typing import Literal, TypeAlias

from tessera.core.chat import Json, JsonObject
from tessera.schemas.keywords import KEYWORDS
from tessera.schemas.references import AnySchema, as_list, as_object, walk, with_schemas

Draft: TypeAlias = Literal[4, 6, 7, 2019, 2020]

_DIALECT = re.compile(r"https?://json-schema\.org/(?:draft-0([467])|draft/(2019|2020)-\d\d)/schema#?")
_DRAFTS: dict[str, Draft] = {"4": 4, "6": 6, "7": 7, "2019": 2019, "2020": 2020}
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_MAY_BE_NULL = ("const", "default")
_IN_PLACE = ("allOf", "anyOf", "oneOf", "if", "$ref", "$dynamicRef", "$recursiveRef", "dependentSchemas")
_UNEVALUATED = (
    ("unevaluatedProperties", "additionalProperties", ("additionalProperties",)),
    ("unevaluatedItems", "items", ("items", "contains")),
)


def dialect(value: Json) -> Draft | None:
    """The draft that a `$schema` names; None if it names no known draft."""
    named = _DIALECT.fullmatch(value) if isinstance(value, str) else None
    return _DRAFTS[named[1] or named[2]] if named else None


def draft_of(schema: AnySchema) -> Draft | None:
    """The draft that `schema` names, or 2019-09 for a `$recursiveRef`, which no other draft has. Schemas
    without a draft are read as 2020-12, in which older forms are understood too: clients mix them,
    and mostly do not say which draft they mean.
    """
    if isinstance(schema, bool):
        return None
    if named := dialect(schema.get("$schema")):
        return named
    return 2019 if any("$recursiveRef" in each for _, each in walk(schema)) else None


def modern(schema: Json) -> Json:
    """The whole schema in the forms of 2020-12, which parts of it may not call those of another draft."""
    if not isinstance(schema, Mapping):
        return schema
    new = in_new_form(schema, None)
    return {
        name: with_schemas(name, value, lambda each, _: modern(each))
        for name, value in new.items()
        if name != "$schema"
    }


def in_new_form(schema: JsonObject, draft: Draft | None) -> JsonObject:
    """The keywords of `schema`, which is written in `draft`, in the forms of 2020-12 and in their order.

    Tools also send what no draft from 4 on allows, but whose meaning is certain: null for a keyword that is
    absent, names that come twice in a list, and `required` as a boolean of the property, as in draft-03.
    """
    if draft in (4, 6, 7) and isinstance(schema.get("$ref"), str):
        return {"$ref": schema["$ref"]}  # up to draft-07, the keywords beside it are ignored
    new: dict[str, Json] = {}
    for name, value in schema.items():
        new |= _in_new_form(name, value, schema)
    if needed := [*_marked_as_required(schema)]:
        new["required"] = [*dict.fromkeys([*as_list(new.get("required")), *needed])]
    for name, plain, unless in _UNEVALUATED:
        if name in new and not any(each in new for each in (*_IN_PLACE, *unless)):
            new = {plain if each == name else each: value for each, value in new.items()}
    return new


def _marked_as_required(schema: JsonObject) -> Iterator[str]:
    """The names of properties whose own schema says `"required": true`."""
    for name, each in as_object(schema.get("properties")).items():
        if isinstance(each, Mapping) and each.get("required") is True:
            yield name


def _in_new_form(name: str, value: Json, schema: JsonObject) -> JsonObject:
    match name, value:
        case _, None if name in KEYWORDS and name not in _MAY_BE_NULL:
            return {}
        case "required", bool():
            return {}
        case (("required" | "type"), [*listed]) if all(isinstance(each, str) for each in listed):
            return {name: [*dict.fromkeys(listed)]}
        case "items", [*_]:
            others = schema.get("additionalItems")
            rest = {} if others is None else {"items": others}
            return {"prefixItems": value, **rest}
        case "additionalItems", _:
            return {}  # read together with a list of `items`; without one it has no meaning
        case (("exclusiveMinimum" | "exclusiveMaximum"), bool()):
            limit = schema.get("minimum" if name == "exclusiveMinimum" else "maximum")
            return {name: limit} if value and limit is not None else {}
        case "dependencies", Mapping():
            needed = {key: each for key, each in value.items() if isinstance(each, list)}
            implied = {key: each for key, each in value.items() if not isinstance(each, list)}
            both = {"dependentRequired": needed, "dependentSchemas": implied}
            return {key: each for key, each in both.items() if each}
        case _, float() if name in _COUNTS and value.is_integer():
            return {name: int(value)}
        case _:
            return {name: value}
