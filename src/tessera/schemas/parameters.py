"""Which parameters a call may hold, when it is written parameter by parameter.

What a schema says of an object as a whole is gathered from the parts of it that hold, by `$ref` and `allOf`,
and from those that may hold, by `anyOf`.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tessera.core.chat import JsonObject
from tessera.schemas.references import (
    AnySchema,
    Document,
    as_list,
    as_object,
    as_schema,
    definition_name,
    subschemas,
)
from tessera.schemas.work import A_GLANCE, Work


@dataclass(frozen=True, slots=True)
class Parameters:
    """`named` have names of their own, in the order of the schema; `required` are those of them without which
    nothing fits. `others` are the schemas of any others, by the pattern of their names, which is "" for the
    names that fit no pattern. There are at most `most` in all. `keywords` are all that the schema says
    of the object.
    """

    named: Mapping[str, AnySchema]
    required: frozenset[str]
    others: Mapping[str, AnySchema]
    closed: bool
    most: int | None
    keywords: frozenset[str]


def parameters_of(document: Document, work: Work) -> Parameters:
    """What the checked schema of a tool says of its parameters. Raises `TooMuchWork`."""
    holding = _parts(document, document.root, work)
    possible = _parts(document, document.root, work, "anyOf")
    named = {**_joined("anyOf", possible), **_joined("allOf", holding)}
    required = _required(holding)
    for part in holding:
        branches = [_required(_parts(document, branch, work)) for branch in subschemas(part, "anyOf")]
        required |= set[str].intersection(*branches) if branches else set()
    others = _others(holding, possible)
    counts = [part.get("maxProperties") for part in holding]
    unlisted = sorted(required - named.keys())
    named |= dict.fromkeys(unlisted, _any_of([*others.values()]))
    rules = _of_unlisted(holding)
    work.spend(A_GLANCE * len(rules) * len(named))
    return Parameters(
        {
            name: _all_of([schema, *(rule for listed, rule in rules if name not in listed)])
            for name, schema in named.items()
        },
        frozenset(required),
        others,
        any(_is_closed(part) for part in holding),
        min((int(count) for count in counts if isinstance(count, int | float)), default=None),
        frozenset(keyword for part in holding for keyword in part),
    )


def _parts(document: Document, root: AnySchema, work: Work, *through: str) -> list[JsonObject]:
    """The schemas that hold for the arguments as a whole if `root` does, or, with `anyOf`, may hold."""
    parts: dict[int, JsonObject] = {}
    todo = deque([root])
    while todo:
        part = todo.popleft()
        if isinstance(part, Mapping) and id(part) not in parts:
            work.spend(A_GLANCE)
            parts[id(part)] = part
            todo += [each for keyword in ("allOf", *through) for each in subschemas(part, keyword)]
            if "$ref" in part:
                todo.append(document.definitions[definition_name(part)])
    return [*parts.values()]


def _joined(keyword: str, parts: Iterable[JsonObject], within: str = "properties") -> dict[str, AnySchema]:
    """By name, the schemas that `parts` have for a property."""
    found: dict[str, list[AnySchema]] = {}
    for part in parts:
        members = part.get(within)
        for name, schema in members.items() if isinstance(members, Mapping) else ():
            found.setdefault(name, []).append(as_schema(schema))
    return {name: each[0] if len(each) == 1 else {keyword: each} for name, each in found.items()}


def _required(parts: Iterable[JsonObject]) -> set[str]:
    return {str(name) for part in parts for name in as_list(part.get("required"))}


def _others(holding: list[JsonObject], possible: list[JsonObject]) -> dict[str, AnySchema]:
    """Nothing is said of others where no part says it: models then invent none."""
    if any(_is_closed(part) for part in holding):
        return {}
    found = _joined("anyOf", possible, "patternProperties")
    rules = _additional(holding)
    if not rules and (allowed := [rule for rule in _additional(possible) if rule is not False]):
        rules = [_any_of(allowed)]
    if rules and False not in rules:
        found[""] = _all_of(rules)
    return found


def _of_unlisted(holding: Iterable[JsonObject]) -> list[tuple[JsonObject, AnySchema]]:
    """The properties that a part lists, and what it says of all others. Patterns are left to the final
    validation.
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
