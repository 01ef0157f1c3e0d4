"""A rewritten schema while it is built, and the constants that cannot be written."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import takewhile

from tessera.core.chat import Json, JsonObject
from tessera.schemas.pattern_classes import CONTROL, UNWRITABLE
from tessera.schemas.references import AnySchema, as_list

MAX_NUMBER = 2**53
"""JSON readers round larger numbers, so the grammar stays within."""


@dataclass(slots=True)
class SchemaBuilder:
    """Gathers the keywords of one schema. `unions`, `parts` and `texts` (patterns) may be several where a
    schema has room for one. `names` are keywords in place of `propertyNames`. With `other_names`, a rule for
    names was left out, so that no name may be excluded.
    """

    keywords: dict[str, Json] = field(default_factory=dict[str, Json])
    unions: list[list[AnySchema]] = field(default_factory=list[list[AnySchema]])
    parts: list[AnySchema] = field(default_factory=list[AnySchema])
    texts: list[str] = field(default_factory=list[str])
    names: dict[str, Json] = field(default_factory=dict[str, Json])
    other_names: bool = False

    def finished(self) -> JsonObject:
        self.keywords |= self.names
        if self.other_names:
            self.keywords.pop("additionalProperties", None)
        for keyword, values in (("pattern", [f"^{text}$" for text in self.texts]), ("anyOf", self.unions)):
            if values:
                self.keywords[keyword] = values[0]
                self.parts += [{keyword: value} for value in values[1:]]
        if self.parts:
            self.keywords["allOf"] = self.parts
        return self.keywords


_INHERITED = ("$ref", "allOf")


def in_order(finished: JsonObject, names: Iterable[str]) -> JsonObject:
    """The schema with its own properties after those that it inherits, if its keywords, whose `names` come in
    the client's order, stand like that. Otherwise, a grammar puts its own properties first.
    """
    before = [*takewhile(lambda name: name != "properties", names)]
    if "properties" not in finished or not any(name in before for name in _INHERITED):
        return finished
    own = {name: value for name, value in finished.items() if name not in _INHERITED}
    inherited: list[Json] = [{"$ref": finished["$ref"]}] if "$ref" in finished else []
    return {"allOf": [*inherited, *as_list(finished.get("allOf")), own]}


def unwritable(value: Json) -> Iterator[str]:
    """Reasons why a constant cannot be written. The names of members can always be written."""
    match value:
        case None | bool():
            pass
        case str():
            if UNWRITABLE.search(value):
                yield CONTROL
        case int() | float():
            if abs(value) > MAX_NUMBER:
                yield f"a number beyond {MAX_NUMBER}, which JSON readers round"
        case Mapping():
            yield from (problem for each in value.values() for problem in unwritable(each))
        case _:
            yield from (problem for each in value for problem in unwritable(each))
