"""Which parameters a call may have that is written parameter by parameter.

The rules for the object are gathered from the schemas that hold (by `$ref` and `allOf`) and from those that
may hold (by `anyOf`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tessera.core.chat import JsonObject
from tessera.schemas.references import (
    AnySchema,
    Document,
    as_list,
    as_object,
    as_schema,
    subschemas,
)
from tessera.schemas.work import BRIEF_VISIT, Work


@dataclass(frozen=True, slots=True)
class Parameters:
    """`named` are the schemas of the parameters that are listed, in the order of the schema; a call without
    one of the `required` is invalid. `others` are the schemas of other parameters, by the pattern of their
    names; the pattern "" stands for names that fit no other. A `closed` schema admits none. There are at most
    `most` parameters. `keywords` are all those that the schema has for the object.
    """

    named: Mapping[str, AnySchema]
    required: frozenset[str]
    others: Mapping[str, AnySchema]
    closed: bool
    most: int | None
    keywords: frozenset[str]


def parameters_of(document: Document, work: Work) -> Parameters:
    """The parameters of a tool, by its checked schema. Raises `TooMuchWork`."""
    holding = [*document.in_place(document.root, work)]
    possible = [*document.in_place(document.root, work, "anyOf")]
    named = {**joined("anyOf", possible), **joined("allOf", holding)}
    required = _required(holding)
    for part in holding:
        branches = [_required(document.in_place(branch, work)) for branch in subschemas(part, "anyOf")]
        required |= set[str].intersection(*branches) if branches else set()
    others = _others(holding, possible)
    counts = [part.get("maxProperties") for part in holding]
    unlisted = sorted(required - named.keys())
    named |= dict.fromkeys(unlisted, _any_of([*others.values()]))
    rules = _for_unlisted(holding)
    work.spend(BRIEF_VISIT * len(rules) * len(named))
    return Parameters(
        named={
            name: _all_of([schema, *(rule for listed, rule in rules if name not in listed)])
            for name, schema in named.items()
        },
        required=frozenset(required),
        others=others,
        closed=any(_is_closed(part) for part in holding),
        most=min((int(count) for count in counts if isinstance(count, int | float)), default=None),
        keywords=frozenset(keyword for part in holding for keyword in part),
    )


def joined(keyword: str, parts: Iterable[JsonObject], within: str = "properties") -> dict[str, AnySchema]:
    """By name, the schemas that `parts` have for a property, joined by `keyword`."""
    found: dict[str, list[AnySchema]] = {}
    for part in parts:
        members = part.get(within)
        for name, schema in members.items() if isinstance(members, Mapping) else ():
            found.setdefault(name, []).append(as_schema(schema))
    return {name: each[0] if len(each) == 1 else {keyword: each} for name, each in found.items()}


def _required(parts: Iterable[JsonObject]) -> set[str]:
    return {str(name) for part in parts for name in as_list(part.get("required"))}


def _others(holding: list[JsonObject], possible: list[JsonObject]) -> dict[str, AnySchema]:
    """Empty where no part has a rule for other parameters: models then invent none."""
    if any(_is_closed(part) for part in holding):
        return {}
    found = joined("anyOf", possible, "patternProperties")
    rules = _additional(holding)
    if not rules and (allowed := [rule for rule in _additional(possible) if rule is not False]):
        rules = [_any_of(allowed)]
    if rules and False not in rules:
        found[""] = _all_of(rules)
    return found


def _for_unlisted(holding: Iterable[JsonObject]) -> list[tuple[JsonObject, AnySchema]]:
    """The rules of parts for other properties, each with the properties that its part lists. The final
    validation checks patterns.
    """
    return [
        (as_object(part.get("properties")), rule)
        for part in holding
        if "patternProperties" not in part
        for rule in _additional([part])
    ]


def _additional(parts: Iterable[JsonObject]) -> list[AnySchema]:
    return [as_schema(part["additionalProperties"]) for part in parts if "additionalProperties" in part]


def _is_closed(part: JsonObject) -> bool:
    return part.get("additionalProperties") is False and not part.get("patternProperties")


def _all_of(schemas: list[AnySchema]) -> AnySchema:
    needed = [schema for schema in schemas if schema not in (True, {})]
    if False in needed:
        return False
    return {"allOf": needed} if len(needed) > 1 else needed[0] if needed else True


def _any_of(schemas: Sequence[AnySchema]) -> AnySchema:
    return {"anyOf": schemas} if schemas else True
