"""Keywords that say nothing where they stand: no reason to refuse a schema, and nothing to enforce."""

from collections.abc import Mapping

from tessera.core.chat import Json, JsonObject
from tessera.prompt.keywords import KEYWORDS
from tessera.prompt.references import as_list, types_named

_TYPE_OF = {
    **dict.fromkeys(
        ("uniqueItems", "contains", "minContains", "maxContains", "unevaluatedItems", "additionalItems"),
        "array",
    ),
    **dict.fromkeys(("items", "prefixItems", "minItems", "maxItems"), "array"),
    **dict.fromkeys(
        ("propertyNames", "dependentRequired", "dependentSchemas", "dependencies", "unevaluatedProperties"),
        "object",
    ),
    **dict.fromkeys(("patternProperties", "minProperties", "maxProperties"), "object"),
    **dict.fromkeys(("pattern", "format", "minLength", "maxLength"), "string"),
}


def has_no_effect(name: str, value: Json, schema: JsonObject) -> bool:
    """Whether every value passes the keyword `name` of `schema`, or no value of the schema's types meets it."""
    if (kind := _TYPE_OF.get(name)) and kind not in types_named(schema):
        return True
    match name:
        case "uniqueItems":
            return value is False or schema.get("maxItems") in (0, 1)
        case "minItems" | "minLength" | "minProperties":
            return value == 0
        case "patternProperties" | "dependentRequired" | "dependentSchemas" | "dependencies":
            return isinstance(value, Mapping) and all(each == [] or is_anything(each) for each in value.values())
        case "propertyNames":
            return is_anything(value, but={"type": "string"})
        case "additionalItems" | "unevaluatedProperties" | "unevaluatedItems":
            return is_anything(value)
        case "not":
            return value is False
        case "if":
            return all(is_anything(schema.get(each, True)) for each in ("then", "else"))
        case "then" | "else":
            return "if" not in schema or is_anything(value)
        case "minContains" | "maxContains":
            return "contains" not in schema
        case _:
            return False


def is_anything(schema: Json, but: JsonObject | None = None) -> bool:
    """Whether a schema admits every value. It may also hold the keywords of `but`."""
    if isinstance(schema, Mapping):
        return all(
            (but is not None and name in but and but[name] == value)
            or (name not in KEYWORDS or KEYWORDS[name].fate == "annotation")
            for name, value in schema.items()
        )
    return schema is True


def names_allowed(names: JsonObject) -> list[str] | None:
    """The names that a schema of names lists one by one; None if it does not."""
    if "const" in names:
        return [names["const"]] if isinstance(names["const"], str) else []
    if "enum" in names:
        return [each for each in as_list(names["enum"]) if isinstance(each, str)]
    return None
