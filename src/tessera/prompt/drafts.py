"""The drafts of JSON Schema, as far as they read a schema differently.

`$schema` names the draft. Without one that is known, the forms that a schema uses tell: tools of real clients
hold draft-04 to 2020-12 and mostly do not say which.
"""

import re
from collections.abc import Iterator
from typing import Literal, TypeAlias

from tessera.core.chat import Json, JsonObject
from tessera.prompt.references import AnySchema, walk

Draft: TypeAlias = Literal[4, 6, 7, 2019, 2020]

_DIALECT = re.compile(r"https?://json-schema\.org/(?:draft-0([467])|draft/(2019|2020)-\d\d)/schema#?")
_NEW = frozenset(
    ("prefixItems", "$defs", "$anchor", "dependentRequired", "dependentSchemas", "minContains", "maxContains")
) | {"unevaluatedItems", "unevaluatedProperties", "$dynamicRef", "$dynamicAnchor"}
_OLD = ("dependencies", "additionalItems")


def dialect(value: Json) -> Draft | None:
    """The draft that a `$schema` names; None for what names none that is known."""
    named = _DIALECT.fullmatch(value) if isinstance(value, str) else None
    match named and (named[1] or named[2]):
        case "4":
            return 4
        case "6":
            return 6
        case "7":
            return 7
        case "2019":
            return 2019
        case "2020":
            return 2020
        case _:
            return None


def draft_of(schema: AnySchema) -> Draft:
    """The draft by which `schema` is to be read."""
    if isinstance(schema, bool):
        return 2020
    if draft := dialect(schema.get("$schema")):
        return draft
    forms = {form for _, each in walk(schema) for form in _forms(each)}
    if 4 in forms:
        return 4
    if "$recursiveRef" in forms:
        return 2019
    return 7 if "old" in forms and "new" not in forms else 2020


def _forms(schema: JsonObject) -> Iterator[str | int]:
    if any(isinstance(schema.get(name), bool) for name in ("exclusiveMinimum", "exclusiveMaximum")):
        yield 4
    if "$recursiveRef" in schema:
        yield "$recursiveRef"
    if schema.keys() & _NEW:
        yield "new"
    if isinstance(schema.get("items"), list) or any(name in schema for name in _OLD):
        yield "old"
