"""Rewrites limits of numbers, and counts of characters, items and properties, for a grammar."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from tessera.core.chat import Json, JsonObject
from tessera.schemas.bounds import MAX_VALUES
from tessera.schemas.builder import MAX_NUMBER, SchemaBuilder
from tessera.schemas.keywords import KEYWORDS, LIMITS
from tessera.schemas.references import as_list, as_object

Relax: TypeAlias = Callable[[str, str], None]
"""Called with the pointer and the reason where something is not enforced. Raises if the schema is strict."""

_MAX_ALTERNATIVES = 24
"""`minProperties: 1` is spelled out, branch by branch, for at most so many optional properties."""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A keyword with its value, at `pointer`. `schema` holds it and the keywords beside it."""

    name: str
    value: Json
    pointer: str
    schema: JsonObject

    @property
    def number(self) -> float:
        """The value of a keyword which the metaschema requires to be a number."""
        return self.value if isinstance(self.value, (int, float)) else 0


def enforced_quantity(rewritten: SchemaBuilder, at: Occurrence, relax: Relax) -> None:
    """Adds what can be enforced of a keyword."""
    if at.name in LIMITS:
        _keep_limit(rewritten, at, relax)
    elif at.name in ("minProperties", "maxProperties"):
        _keep_size(rewritten, at, relax)
    else:
        _keep_count(rewritten, at, relax)


def _keep_limit(rewritten: SchemaBuilder, at: Occurrence, relax: Relax) -> None:
    """A limit beyond `MAX_NUMBER` becomes `MAX_NUMBER`, if that leaves any number."""
    limit = at.number
    if abs(limit) > MAX_NUMBER:
        upper = at.name in ("maximum", "exclusiveMaximum")
        if at.name == "multipleOf" or upper != (limit > 0):
            beyond = f"only numbers beyond {MAX_NUMBER}, which JSON readers round"
            relax(at.pointer, f"`{at.name}`: {beyond}")
            return
        limit = MAX_NUMBER if upper else -MAX_NUMBER
    rewritten.keywords[at.name] = limit


def _keep_count(rewritten: SchemaBuilder, at: Occurrence, relax: Relax) -> None:
    """A maximum that is too large is left out; a minimum is lowered."""
    most = MAX_VALUES[at.name]
    if at.number > most:
        relax(at.pointer, f"`{at.name}`: more than {most}")
    if at.number <= most or at.name.startswith("min"):
        rewritten.keywords[at.name] = min(at.number, most)


def _keep_size(rewritten: SchemaBuilder, at: Occurrence, relax: Relax) -> None:
    """Keeps the number of properties where the grammar can count them."""
    required = set(as_list(at.schema.get("required")))
    named = as_object(at.schema.get("properties"))
    closed = at.schema.get("additionalProperties") is False and "patternProperties" not in at.schema
    if at.number <= len(required) if at.name == "minProperties" else closed and len(named) <= at.number:
        return
    if named.keys() <= required:
        if at.name == "minProperties" and at.number > len(required) + 1:
            relax(at.pointer, "`minProperties`: a name may come twice, which a grammar cannot know")
        _keep_count(rewritten, at, relax)
    elif (at.name, at.number) == ("minProperties", 1) and len(named) <= _MAX_ALTERNATIVES:
        rewritten.keywords[at.name] = 1
    else:
        relax(at.pointer, f"`{at.name}`: {KEYWORDS[at.name].why}")
