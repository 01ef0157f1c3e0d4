"""Which draft of JSON Schema a schema is written in."""

import re
from typing import Literal, TypeAlias

from tessera.core.chat import Json
from tessera.schemas.references import AnySchema, walk

Draft: TypeAlias = Literal[4, 6, 7, 2019, 2020]

_DIALECT = re.compile(r"https?://json-schema\.org/(?:draft-0([467])|draft/(2019|2020)-\d\d)/schema#?")
_DRAFTS: dict[str, Draft] = {"4": 4, "6": 6, "7": 7, "2019": 2019, "2020": 2020}


def dialect(value: Json) -> Draft | None:
    """The draft that a `$schema` names; None if it names no known draft."""
    named = _DIALECT.fullmatch(value) if isinstance(value, str) else None
    return _DRAFTS[named[1] or named[2]] if named else None


def draft_of(schema: AnySchema) -> Draft | None:
    """The draft that `schema` names, or 2019-09 for a `$recursiveRef`, which no other draft has. Schemas
    without a draft are read as 2020-12, in which older forms are understood too (`forms`): clients mix them,
    and mostly do not say which draft they mean.
    """
    if isinstance(schema, bool):
        return None
    if named := dialect(schema.get("$schema")):
        return named
    return 2019 if any("$recursiveRef" in each for _, each in walk(schema)) else None
