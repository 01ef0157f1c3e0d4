"""The forms of older drafts, written as 2020-12 has them; and what two keywords say, as one."""

from tessera.core.chat import Json, JsonObject
from tessera.prompt.drafts import Draft

_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_IN_PLACE = ("allOf", "anyOf", "oneOf", "if", "$ref", "$dynamicRef", "$recursiveRef", "dependentSchemas")
_UNEVALUATED = (
    ("unevaluatedProperties", "additionalProperties", ("additionalProperties",)),
    ("unevaluatedItems", "items", ("items", "contains")),
)


def in_new_form(schema: JsonObject, draft: Draft) -> JsonObject:
    """The keywords of `schema`, in their order, as 2020-12 would write them."""
    if draft <= 7 and isinstance(schema.get("$ref"), str):
        return {"$ref": schema["$ref"]}  # up to draft-07 it stands alone, whatever is beside it
    new: dict[str, Json] = {}
    for name, value in schema.items():
        if name in _COUNTS and isinstance(value, float):
            new[name] = int(value)  # the metaschema has seen that it is one
        elif name == "items" and isinstance(value, list):
            new["prefixItems"] = value
            new["items"] = schema.get("additionalItems", True)
        elif name == "additionalItems":
            pass  # beside a list of `items` it has been read above; elsewhere it says nothing
        elif name in ("exclusiveMinimum", "exclusiveMaximum") and isinstance(value, bool):
            limit = schema.get("minimum" if name == "exclusiveMinimum" else "maximum")
            if value and isinstance(limit, (int, float)):
                new[name] = limit
        else:
            new[name] = value
    for name, plain, unless in _UNEVALUATED:
        if name in new and not any(each in new for each in (*_IN_PLACE, *unless)):
            new = {plain if each == name else each: value for each, value in new.items()}
    return new
