"""Keywords without effect where they stand. They are neither refused nor enforced."""

from collections.abc import Callable, Mapping

from tessera.core.chat import Json, JsonObject
from tessera.schemas.keywords import KEYWORDS
from tessera.schemas.references import as_list, as_object
from tessera.schemas.types import types_named

_TYPE_OF = {
    **dict.fromkeys(("items", "prefixItems", "minItems", "maxItems", "uniqueItems"), "array"),
    **dict.fromkeys(("contains", "minContains", "maxContains", "unevaluatedItems"), "array"),
    **dict.fromkeys(("patternProperties", "minProperties", "maxProperties", "propertyNames"), "object"),
    **dict.fromkeys(("dependentRequired", "dependentSchemas", "unevaluatedProperties"), "object"),
    **dict.fromkeys(("pattern", "format", "minLength", "maxLength"), "string"),
}


def has_no_effect(name: str, value: Json, schema: JsonObject) -> bool:
    """Whether the keyword `name` of `schema` excludes no value of the schema's types."""
    if (kind := _TYPE_OF.get(name)) and kind not in types_named(schema):
        return True
    test = _TESTS.get(name)
    return test is not None and test(value, schema)


def _depends_on_nothing(value: Json, _: JsonObject) -> bool:
    return all(each == [] or is_anything(each) for each in as_object(value).values())


_TESTS: Mapping[str, Callable[[Json, JsonObject], bool]] = {
    "uniqueItems": lambda value, schema: value is False or schema.get("maxItems") in (0, 1),
    **dict.fromkeys(("minItems", "minLength", "minProperties"), lambda value, _: value == 0),
    "patternProperties": lambda value, _: value == {},
    **dict.fromkeys(("dependentRequired", "dependentSchemas"), _depends_on_nothing),
    "propertyNames": lambda value, _: is_anything(value, but={"type": "string"}),
    **dict.fromkeys(("unevaluatedProperties", "unevaluatedItems"), lambda value, _: is_anything(value)),
    "not": lambda value, _: value is False,
    "if": lambda _, schema: all(is_anything(schema.get(each, True)) for each in ("then", "else")),
    **dict.fromkeys(("then", "else"), lambda value, schema: "if" not in schema or is_anything(value)),
    **dict.fromkeys(("minContains", "maxContains"), lambda _, schema: "contains" not in schema),
}


def is_anything(schema: Json, but: JsonObject | None = None) -> bool:
    """Whether a schema admits every value. It may also hold the keywords of `but`."""
    if isinstance(schema, Mapping):
        return all(
            (but is not None and name in but and but[name] == value)
            or (name not in KEYWORDS or KEYWORDS[name].treatment == "annotation")
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
