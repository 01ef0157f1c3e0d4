"""Which JSON Schema is promised, in one table. Each keyword is treated in one of three ways:

- enforced: the grammar admits nothing that breaks it;
- relaxed: the grammar cannot hold it. With `strict` it is refused; without, the grammar leaves it out and
  the finished value is validated against the whole schema;
- annotation: it restricts no value.

Keywords that JSON Schema does not know are annotations, as its specification demands.

A grammar may be too large although each keyword alone could be enforced. Without `strict`, the schema is then
relaxed, level by level: each of the `LEVELS` leaves out more keywords, and the last one admits any JSON of
the schema's type.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

Treatment: TypeAlias = Literal["enforced", "relaxed", "annotation"]
Holds: TypeAlias = Literal["value", "schema", "schemas", "named schemas"]


@dataclass(frozen=True, slots=True)
class Keyword:
    """`why` explains what is not simply enforced; `holds` says where the subschemas are."""

    treatment: Treatment
    why: str = ""
    holds: Holds = "value"


LIMITS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_ENFORCED = Keyword("enforced")
NOTE = Keyword("annotation")
_LATER = "a grammar goes from left to right and cannot know what comes later"

KEYWORDS: Mapping[str, Keyword] = MappingProxyType(
    {
        **dict.fromkeys(("type", "enum", "const"), _ENFORCED),
        "$ref": Keyword("enforced", "within the schema; a cycle must pass through a property or an item"),
        **dict.fromkeys(("allOf", "anyOf"), Keyword("enforced", holds="schemas")),
        "oneOf": Keyword("enforced", "when no value can fit two branches; else relaxed", holds="schemas"),
        "properties": Keyword("enforced", "in this order", holds="named schemas"),
        "patternProperties": Keyword(
            "enforced", "when the patterns exclude each other", holds="named schemas"
        ),
        "additionalProperties": Keyword("enforced", holds="schema"),
        **dict.fromkeys(("required", "minItems", "maxItems", "minLength", "maxLength"), _ENFORCED),
        "minProperties": Keyword("enforced", "0, 1 or what `required` implies; else relaxed"),
        "maxProperties": Keyword("enforced", "when every property is required; else relaxed"),
        "propertyNames": Keyword(
            "enforced", "of objects without `properties`: strings with rules; else relaxed", holds="schema"
        ),
        "items": Keyword("enforced", holds="schema"),
        "prefixItems": Keyword("enforced", holds="schemas"),
        "additionalItems": Keyword("enforced", holds="schema"),
        "pattern": Keyword("enforced", "what a linear automaton can follow; else relaxed"),
        "format": Keyword(
            "enforced", "the formats of the table; a few are relaxed, unknown ones are annotations"
        ),
        **dict.fromkeys(LIMITS, _ENFORCED),
        "uniqueItems": Keyword("relaxed", "a grammar cannot remember the items"),
        **dict.fromkeys(
            ("contains", "not", "if", "then", "else", "unevaluatedProperties", "unevaluatedItems"),
            Keyword("relaxed", _LATER, holds="schema"),
        ),
        **dict.fromkeys(
            ("dependentSchemas", "dependencies"), Keyword("relaxed", _LATER, holds="named schemas")
        ),
        **dict.fromkeys(("minContains", "maxContains", "dependentRequired"), Keyword("relaxed", _LATER)),
        **dict.fromkeys(
            ("$dynamicRef", "$recursiveRef"), Keyword("relaxed", "what it means depends on who refers")
        ),
        **dict.fromkeys(
            ("$defs", "definitions"),
            Keyword("annotation", "what $ref finds there is kept", holds="named schemas"),
        ),
        **dict.fromkeys(
            ("$schema", "$id", "id", "$anchor", "$dynamicAnchor", "$vocabulary", "$comment"), NOTE
        ),
        **dict.fromkeys(("title", "description", "default", "examples", "deprecated"), NOTE),
        **dict.fromkeys(
            ("readOnly", "writeOnly", "contentEncoding", "contentMediaType", "contentSchema"), NOTE
        ),
    }
)

_COUNTS = frozenset(("patternProperties", "propertyNames", "minProperties", "maxProperties", "multipleOf"))
_TEXTS = frozenset(("pattern", "format", "minLength", "maxLength"))
_SIZES = frozenset(("minItems", "maxItems", *LIMITS))
_PARTS = frozenset(("allOf", "anyOf", "oneOf", "const", "enum"))
LEVELS: tuple[frozenset[str], ...] = (
    frozenset(),
    _COUNTS,
    _COUNTS | _TEXTS,
    _COUNTS | _TEXTS | _SIZES | {"allOf"},
    _COUNTS | _TEXTS | _SIZES | _PARTS | {"$ref"},
    frozenset(KEYWORDS) - {"type"},
)
"""The keywords that each level of relaxation leaves out."""
