"""Whether the branches of a `oneOf` exclude each other, so that it equals the `anyOf` a grammar can hold.

`jsonschema-rs` decides it: it brings two branches into a canonical form and intersects them. Only its certain
"no value fits both" counts. It leaves a recursive reference at the root of a branch as it is, so such a
reference is resolved here first.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations

import jsonschema_rs

from tessera.core.chat import Json
from tessera.schemas.drafts import Draft, in_new_form
from tessera.schemas.keywords import KEYWORDS, NOTE
from tessera.schemas.references import (
    AnySchema,
    Document,
    as_schema,
    at_pointer,
    escaped,
    reference_to,
    with_schemas,
)
from tessera.schemas.resolver import Resolver

_MAX_BRANCHES = 64
_UNREAD = ("pattern", "patternProperties")
_NONE = jsonschema_rs.canonical.Satisfiability.NO


class Exclusiveness:
    """Compares the branches of the unions in one schema."""

    def __init__(self, schema: AnySchema, draft: Draft | None, resolver: Resolver) -> None:
        self._schema = schema
        self._draft: Draft | None = draft
        self._resolver = resolver
        self._definitions: dict[str, AnySchema] = {}

    def holds(self, branches: Sequence[AnySchema], pointer: str) -> bool:
        """Whether no value fits two of the branches, which stand in a list at `pointer`."""
        if len(branches) > _MAX_BRANCHES:
            return False
        try:
            forms = [self._canonical(branch, f"{pointer}/{i}") for i, branch in enumerate(branches)]
            return all(a.intersect(b).satisfiability() == _NONE for a, b in combinations(forms, 2))
        except (ValueError, jsonschema_rs.ReferencingError):  # a form that it cannot compute
            return False

    def _canonical(self, branch: AnySchema, pointer: str) -> jsonschema_rs.CanonicalSchema:
        root = self._widened(branch, pointer)
        document = Document(root, self._definitions)
        alone = document.standing_alone(document.resolve(root))
        return jsonschema_rs.canonicalize({**alone}, draft=jsonschema_rs.Draft202012, offline=True)

    def _widened(self, schema: Json, pointer: str) -> AnySchema:
        """A schema of 2020-12 that admits at least what `schema` does, without what the library may not read:
        patterns, and what is relaxed. All references name `_definitions`.
        """
        if not isinstance(schema, Mapping):
            return as_schema(schema)
        kept: dict[str, Json] = {}
        new = in_new_form(schema, self._draft)
        for name, value in new.items():
            here = f"{pointer}/{escaped(name)}"
            if name == "$ref":
                kept |= self._reference(str(value), pointer)
            elif name == "additionalProperties" and "patternProperties" in new:
                pass  # it restricts only names that fit no pattern
            elif name not in _UNREAD and KEYWORDS.get(name, NOTE).treatment == "enforced":
                widened = with_schemas(
                    name, value, lambda each, below, at=here: self._widened(each, at + below)
                )
                kept["anyOf" if name == "oneOf" else name] = widened
        return kept

    def _reference(self, reference: str, pointer: str) -> Mapping[str, Json]:
        target = self._resolver.find(reference, pointer)
        if target is None:
            return {}
        if target not in self._definitions:
            self._definitions[target] = True  # for references that come back to it
            self._definitions[target] = self._widened(at_pointer(self._schema, target), target)
        return reference_to(target)
