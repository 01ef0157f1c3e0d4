"""The check that every schema of a request goes through, by the table of `keywords`.

The result is a document that a grammar can be built from: annotations gone, references uniform, every draft's
forms in those of 2020-12, formats and patterns in the one form that grammars take, `oneOf` turned into the
`anyOf` that it equals.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import NoReturn

from tessera.core.chat import Json
from tessera.errors import InvalidSchema
from tessera.schemas import patterns
from tessera.schemas.bounds import MAX_SCHEMAS, MAX_VALUES, excess
from tessera.schemas.drafts import Draft, draft_of
from tessera.schemas.exclusive import exclusive
from tessera.schemas.forms import in_new_form
from tessera.schemas.identifiers import Identifiers
from tessera.schemas.keywords import KEYWORDS, LIMITS, NOTE, RUNGS, Holds
from tessera.schemas.no_effect import has_no_effect, is_anything, names_allowed
from tessera.schemas.quantities import Place, enforced_quantity
from tessera.schemas.recursion import bottomless, circular
from tessera.schemas.references import (
    AnySchema,
    Document,
    as_object,
    as_schema,
    at_pointer,
    escaped,
    reference_to,
    subschemas,
    walk,
)
from tessera.schemas.rewritten import Rewritten, unwritable
from tessera.schemas.string_formats import FORMATS, VALIDATED
from tessera.schemas.validation import schema_problem
from tessera.schemas.work import Work


def check_schema(
    schema: AnySchema, *, strict: bool, param: str, rung: int = 0, work: Work | None = None
) -> Document:
    """What the grammar is to enforce of `schema`, on a rung of `keywords.RUNGS`.

    Raises `InvalidSchema`, whose message holds the JSON pointer and the keyword, for a schema that is not
    one, exceeds the bounds, or (with `strict`) holds what cannot be enforced, and `TooMuchWork`.
    """
    check = _Check(schema, strict, param, RUNGS[rung], work or Work())
    if problem := excess(schema):
        check.refuse(problem.pointer, problem.message)
    check.read()
    if (pointer := circular(schema, check.find)) is not None:
        check.refuse(pointer, "`$ref`: it refers to itself for one and the same value")
    if problem := schema_problem(schema):
        if not problem.pointer and (lost := next(check.lost_references(), None)):
            check.refuse(lost, "`$ref`: there is no schema at its end")
        check.refuse(problem.pointer, problem.message)
    document = Document(check.enforced(schema, ""), check.definitions())
    for pointer in (endless := [*bottomless(document)]):
        check.relax(pointer, "`$ref`: no value that ends can satisfy it")
    return replace(document, definitions={**document.definitions, **dict.fromkeys(endless, True)})


@dataclass(slots=True)
class _Check:
    """One schema being checked. `targets` are what `$ref`s point at; `left_out` is not enforced."""

    schema: AnySchema
    strict: bool
    param: str
    left_out: frozenset[str]
    work: Work
    draft: Draft | None = None
    identifiers: Identifiers = field(default_factory=lambda: Identifiers("$id"))
    targets: dict[str, None] = field(default_factory=dict[str, None])
    n_visited: int = 0

    def read(self) -> None:
        self.draft = draft_of(self.schema)
        self.identifiers = Identifiers("id" if self.draft == 4 else "$id")
        self.identifiers.read(self.schema)

    def find(self, reference: str, at: str) -> str | None:
        """The pointer of the schema that a reference at the pointer `at` means; None if it is not in here."""
        pointer = self.identifiers.pointer(reference, at)
        try:
            found = None if pointer is None else at_pointer(self.schema, pointer)
        except LookupError:
            return None
        return pointer if isinstance(found, (Mapping, bool)) else None

    def lost_references(self) -> Iterator[str]:
        """The pointers of references to nothing in this schema."""
        nodes = ((at, node.get("$ref")) for at, node in walk(self.schema))
        return (f"{at}/$ref" for at, to in nodes if isinstance(to, str) and self.find(to, at) is None)

    def refuse(self, pointer: str, problem: str) -> NoReturn:
        where = f"at #{pointer[:200]}"
        raise InvalidSchema(f"The schema cannot be enforced: {where}: {problem}.", param=self.param)

    def relax(self, pointer: str, problem: str) -> None:
        if self.strict:
            self.refuse(pointer, f"{problem}: leave it out, or send strict: false to have it only validated")

    def definitions(self) -> Mapping[str, AnySchema]:
        """Rewrites all that references point at, which may bring up more."""
        found: dict[str, AnySchema] = {}
        while len(found) < len(self.targets):
            for target in [*islice(self.targets, len(found), None)]:
                found[target] = self.enforced(as_schema(at_pointer(self.schema, target)), target)
        return found

    def enforced(self, schema: AnySchema, pointer: str) -> AnySchema:
        """The schema as the grammar is to have it."""
        self.n_visited += 1
        self.work.spend()
        if self.n_visited > MAX_SCHEMAS:
            self.refuse(pointer, f"more than {MAX_SCHEMAS} schemas once its references are laid out")
        if isinstance(schema, bool):
            return schema
        if "not" in schema and is_anything(schema["not"]):
            return False
        rewritten = Rewritten()
        new = in_new_form(schema, self.draft)
        for name, value in new.items():
            keyword = KEYWORDS.get(name, NOTE)
            here = f"{pointer}/{escaped(name)}"
            if keyword.fate == "annotation" or has_no_effect(name, value, new):
                continue
            if name in self.left_out:
                rewritten.other_names |= name in ("patternProperties", "propertyNames")
            elif keyword.fate == "relaxed":
                self.relax(here, f"`{name}`: {keyword.why}")
            else:
                _KEEP.get(name, _Check.keep_as_it_is)(self, rewritten, Place(name, value, here, new))
        return rewritten.finished()

    def keep_reference(self, rewritten: Rewritten, at: Place) -> None:
        target = self.find(str(at.value), at.pointer.rpartition("/")[0])
        if target is None:  # a metaschema, which the validator knows
            self.relax(at.pointer, "`$ref`: what it refers to is not in this schema")
            return
        self.targets.setdefault(target)
        rewritten.keywords |= reference_to(target)

    def keep_union(self, rewritten: Rewritten, at: Place) -> None:
        branches = subschemas(at.schema, at.name)
        if at.name == "oneOf" and self.strict and not exclusive(branches, self._resolved):
            self.relax(at.pointer, "`oneOf`: a value may fit two branches, which a grammar cannot tell")
        rewritten.unions.append(self._each(branches, at.pointer))

    def keep_parts(self, rewritten: Rewritten, at: Place) -> None:
        rewritten.parts += self._each(subschemas(at.schema, at.name), at.pointer)

    def keep_pattern(self, rewritten: Rewritten, at: Place) -> None:
        rewritten.texts += self._pattern(str(at.value), at)

    def keep_format(self, rewritten: Rewritten, at: Place) -> None:
        name = str(at.value)
        if name in VALIDATED:
            self.relax(at.pointer, f"`format`: {name} is only validated")
        rewritten.texts += FORMATS.get(name, ())

    def keep_by_pattern(self, rewritten: Rewritten, at: Place) -> None:
        """Schemas by pattern, the patterns as grammars take them; two may have become one."""
        kept: dict[str, Json] = {}
        for pattern, value in as_object(at.value).items():
            here = replace(at, pointer=f"{at.pointer}/{escaped(pattern)}")
            schema = self.enforced(as_schema(value), here.pointer)
            texts = self._pattern(pattern, here)
            rewritten.other_names |= not texts
            for text in texts:
                whole = f"^{text}$"
                kept[whole] = {"allOf": [kept[whole], schema]} if whole in kept else schema
        if kept:
            rewritten.keywords["patternProperties"] = kept

    def keep_names(self, rewritten: Rewritten, at: Place) -> None:
        """A rule for names, as properties or patterns that equal it."""
        rule = self.enforced(self._resolved(as_schema(at.value)), at.pointer)
        others = self.enforced(as_schema(at.schema.get("additionalProperties", True)), at.pointer)
        listed = names_allowed(rule) if isinstance(rule, Mapping) else None
        if not isinstance(rule, Mapping) or "properties" in at.schema or "patternProperties" in at.schema:
            self.relax(at.pointer, f"`propertyNames`: {KEYWORDS['propertyNames'].why}")
        elif listed is not None:
            rewritten.names = {"properties": dict.fromkeys(listed, others), "additionalProperties": False}
        elif {*rule} in ({"type", "pattern"}, {"pattern"}):
            by_pattern = {str(rule["pattern"]): others}
            rewritten.names = {"patternProperties": by_pattern, "additionalProperties": False}
        elif not {*rule} <= {"type"}:
            self.relax(at.pointer, f"`propertyNames`: {KEYWORDS['propertyNames'].why}")

    def keep_quantity(self, rewritten: Rewritten, at: Place) -> None:
        enforced_quantity(rewritten, at, self.relax)

    def keep_constants(self, rewritten: Rewritten, at: Place) -> None:
        if problem := next(unwritable(at.value), ""):
            self.relax(at.pointer, f"`{at.name}`: {problem}")
        else:
            rewritten.keywords[at.name] = at.value

    def keep_as_it_is(self, rewritten: Rewritten, at: Place) -> None:
        rewritten.keywords[at.name] = self._inside(KEYWORDS[at.name].holds, at.value, at.pointer)

    def _inside(self, holds: Holds, value: Json, here: str) -> Json:
        if holds == "value":
            return value
        match value:
            case Mapping() if holds == "named schemas":
                return {k: self.enforced(as_schema(v), f"{here}/{escaped(k)}") for k, v in value.items()}
            case Mapping() | bool():
                return self.enforced(value, here)
            case [*schemas]:
                return self._each([as_schema(v) for v in schemas], here)
            case _:
                return value

    def _each(self, schemas: Sequence[AnySchema], here: str) -> list[AnySchema]:
        return [self.enforced(schema, f"{here}/{i}") for i, schema in enumerate(schemas)]

    def _pattern(self, pattern: str, at: Place) -> list[str]:
        """The expression of the texts that fit a pattern; none if no grammar can hold it."""
        try:
            return [patterns.full_match(pattern)]
        except ValueError as problem:
            self.relax(at.pointer, f"`{at.name}`: {problem}")
            return []

    def _resolved(self, schema: AnySchema) -> AnySchema:
        while isinstance(schema, Mapping) and isinstance(reference := schema.get("$ref"), str):
            if (pointer := self.find(reference, "")) is None:
                return True
            schema = as_schema(at_pointer(self.schema, pointer))
        return schema


_KEEP: Mapping[str, Callable[[_Check, Rewritten, Place], None]] = {
    "$ref": _Check.keep_reference,
    **dict.fromkeys(("anyOf", "oneOf"), _Check.keep_union),
    "allOf": _Check.keep_parts,
    "pattern": _Check.keep_pattern,
    "format": _Check.keep_format,
    "patternProperties": _Check.keep_by_pattern,
    "propertyNames": _Check.keep_names,
    **dict.fromkeys((*LIMITS, *MAX_VALUES), _Check.keep_quantity),
    **dict.fromkeys(("const", "enum"), _Check.keep_constants),
}
"""How the enforced keywords are kept that are not simply copied."""
