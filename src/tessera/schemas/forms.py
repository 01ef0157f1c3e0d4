"""Rewrites the forms of older drafts as those of 2020-12."""

from collections.abc import Mapping

from tessera.core.chat import Json, JsonObject
from tessera.schemas.drafts import Draft
from tessera.schemas.references import with_schemas

_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_IN_PLACE = ("allOf", "anyOf", "oneOf", "if", "$ref", "$dynamicRef", "$recursiveRef", "dependentSchemas")
_UNEVALUATED = (
    ("unevaluatedProperties", "additionalProperties", ("additionalProperties",)),
    ("unevaluatedItems", "items", ("items", "contains")),
)


def modern(schema: Json) -> Json:
    """The whole schema in the forms of 2020-12."""
    if not isinstance(schema, Mapping):
        return schema
    new = in_new_form(schema, None)
    return {name: with_schemas(name, value, lambda each, _: modern(each)) for name, value in new.items()}


def in_new_form(schema: JsonObject, draft: Draft | None) -> JsonObject:
    """The keywords of `schema`, which is written in `draft`, in the forms of 2020-12 and in their order."""
    if draft in (4, 6, 7) and isinstance(schema.get("$ref"), str):
        return {"$ref": schema["$ref"]}  # up to draft-07, the keywords beside it are ignored
    new: dict[str, Json] = {}
    for name, value in schema.items():
        new |= _in_new_form(name, value, schema)
    for name, plain, unless in _UNEVALUATED:
        if name in new and not any(each in new for each in (*_IN_PLACE, *unless)):
            new = {plain if each == name else each: value for each, value in new.items()}
    return new


def _in_new_form(name: str, value: Json, schema: JsonObject) -> JsonObject:
    match name, value:
        case "items", [*_]:
            rest = {"items": schema["additionalItems"]} if "additionalItems" in schema else {}
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
