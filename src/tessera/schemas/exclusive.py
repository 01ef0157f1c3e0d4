"""Whether the branches of a `oneOf` exclude each other, so that it equals the `anyOf` a grammar can hold.

`jsonschema-rs` decides it: it brings two branches into a canonical form and intersects them. Only its certain
"no value fits both" counts. It leaves a recursive reference at the root of a branch as it is, so such a
reference is resolved here first.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations

import jsonschema_rs

from tessera.core.chat import Json, JsonObject
from tessera.schemas.builder import MAX_NUMBER
from tessera.schemas.references import AnySchema, Document, with_schemas

_MAX_BRANCHES = 64
# A limit of numbers that lies beyond these was rewritten as one of them.
_WIDEST = (MAX_NUMBER, -MAX_NUMBER)
_NONE = jsonschema_rs.canonical.Satisfiability.NO


def exclude_each_other(branches: Sequence[AnySchema], document: Document) -> bool:
    """Whether no value fits two of the branches, which are parts of the document."""
    if len(branches) > _MAX_BRANCHES:
        return False
    try:
        forms = [_canonical(branch, document) for branch in branches]
        return all(a.intersect(b).satisfiability() == _NONE for a, b in combinations(forms, 2))
    except (ValueError, jsonschema_rs.ReferencingError):  # a form that it cannot compute
        return False


def _canonical(branch: AnySchema, document: Document) -> jsonschema_rs.CanonicalSchema:
    alone = document.standing_alone(document.resolve(branch))
    widened = _without_patterns(alone)
    return jsonschema_rs.canonicalize(widened, draft=jsonschema_rs.Draft202012, offline=True)


def _without_patterns(schema: JsonObject) -> dict[str, Json]:
    """A schema that admits at least what `schema` does, without patterns, which the library may not read."""
    # Beside patterns, `additionalProperties` restricts only names that fit none of them.
    by_pattern = (
        {"patternProperties", "additionalProperties"} if "patternProperties" in schema else set[str]()
    )
    return {
        name: with_schemas(name, value, _part_without_patterns)
        for name, value in schema.items()
        if name != "pattern" and name not in by_pattern and value not in _WIDEST
    }


def _part_without_patterns(schema: Json, _: str) -> Json:
    return _without_patterns(schema) if isinstance(schema, Mapping) else schema
