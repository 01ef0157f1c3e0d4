"""Checks the schemas of a request by the table of `keywords`, and rewrites them for a grammar.

The rewritten schema has no annotations. Its references are uniform, the forms of older drafts are those of
2020-12, formats are patterns, all patterns match whole texts, and `oneOf` is the `anyOf` that it equals.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import NoReturn

from tessera.core.chat import Json
from tessera.schemas import patterns
from tessera.schemas.bounds import MAX_SCHEMAS, MAX_VALUES, SchemaProblem, excess
from tessera.schemas.builder import SchemaBuilder, in_order, unwritable
from tessera.schemas.drafts import Draft, draft_of, in_new_form
from tessera.schemas.exclusive import exclude_each_other
from tessera.schemas.keywords import KEYWORDS, LEVELS, LIMITS, NOTE
from tessera.schemas.no_effect import has_no_effect, is_anything, names_allowed
from tessera.schemas.pattern_classes import CONTROL
from tessera.schemas.quantities import Occurrence, enforced_quantity
from tessera.schemas.recursion import bottomless, circular
from tessera.schemas.references import (
    AnySchema,
    Document,
    as_list,
    as_object,
    as_schema,
    at_pointer,
    escaped,
    reference_to,
    subschemas,
    with_schemas,
)
from tessera.schemas.resolver import Resolver
from tessera.schemas.string_formats import FORMATS, VALIDATED, is_asserted
from tessera.schemas.validation import schema_problem
from tessera.schemas.work import BRIEF_VISIT, Work


def check_schema(
    schema: AnySchema, *, strict: bool, param: str, level: int = 0, work: Work | None = None
) -> Document:
    """Returns what the grammar is to enforce of `schema`, on one of the `keywords.LEVELS` of relaxation.

    Raises `InvalidSchema`, whose message holds the JSON pointer and the keyword, for a schema that is not
    one, exceeds the bounds, or (with `strict`) holds what cannot be enforced. Raises `TooMuchWork`.
    """
    if problem := excess(schema):
        raise problem.refusal(param)
    check = _Check(schema, strict=strict, param=param, left_out=LEVELS[level], work=work or Work())
    if (pointer := circular(schema, check.resolver)) is not None:
        check.refuse(pointer, "`$ref`: it refers to itself for one and the same value")
    if problem := schema_problem(schema):
        if not problem.pointer and (lost := next(check.resolver.unresolved(), None)):
            check.refuse(lost, "`$ref`: there is no schema at its end")
        raise problem.refusal(param)
    document = Document(check.enforced(schema, ""), check.definitions())
    for pointer, branches in check.one_ofs:
        if not exclude_each_other(branches, document):
            check.relax(pointer, "`oneOf`: a value may fit two branches, which a grammar cannot tell")
    endless = [*bottomless(document)]
    for pointer in endless:
        check.relax(pointer, "`$ref`: no value that ends can satisfy it")
    return replace(document, definitions={**document.definitions, **dict.fromkeys(endless, True)})


class _Check:
    """One schema being checked. Keywords that are `left_out` are not enforced."""

    def __init__(
        self, schema: AnySchema, *, strict: bool, param: str, left_out: frozenset[str], work: Work
    ) -> None:
        self._schema = schema
        self._strict = strict
        self._param = param
        self._left_out = left_out
        self._work = work
        self._draft: Draft | None = draft_of(schema)
        self.resolver = Resolver(schema, self._draft)
        self.one_ofs: list[tuple[str, list[AnySchema]]] = []
        """The rewritten branches of each `oneOf` that must be exclusive, with its pointer."""
        self._targets: dict[str, None] = {}
        """The pointers that references point at, in the order in which they were met."""
        self._n_visited = 0

    def refuse(self, pointer: str, problem: str) -> NoReturn:
        raise SchemaProblem(pointer, problem).refusal(self._param)

    def relax(self, pointer: str, problem: str) -> None:
        if self._strict:
            self.refuse(pointer, f"{problem}: leave it out, or send strict: false to have it only validated")

    def definitions(self) -> Mapping[str, AnySchema]:
        """The targets of all references, rewritten. Rewriting one may bring up more."""
        found: dict[str, AnySchema] = {}
        while len(found) < len(self._targets):
            for target in [*islice(self._targets, len(found), None)]:
                found[target] = self.enforced(as_schema(at_pointer(self._schema, target)), target)
        return found

    def enforced(self, schema: AnySchema, pointer: str) -> AnySchema:
        """Rewrites a schema for the grammar."""
        self._n_visited += 1
        self._work.spend()
        if self._n_visited > MAX_SCHEMAS:
            self.refuse(pointer, f"more than {MAX_SCHEMAS} schemas once its references are laid out")
        if isinstance(schema, bool):
            return schema or "not" in self._left_out
        if "not" in schema and is_anything(schema["not"]) and "not" not in self._left_out:
            return False
        rewritten = SchemaBuilder()
        new = in_new_form(schema, self._draft)
        for name, value in new.items():
            keyword = KEYWORDS.get(name, NOTE)
            here = f"{pointer}/{escaped(name)}"
            if keyword.treatment == "annotation" or has_no_effect(name, value, new):
                continue
            if name in self._left_out:
                rewritten.other_names |= name in ("patternProperties", "propertyNames")
            elif keyword.treatment == "relaxed":
                self.relax(here, f"`{name}`: {keyword.why}")
            else:
                keep = _KEEP.get(name, _Check.keep_as_it_is)
                keep(self, rewritten, Occurrence(name, value, pointer=here, schema=new))
        return in_order(rewritten.finished(), new)

    def keep_reference(self, rewritten: SchemaBuilder, at: Occurrence) -> None:
        reference = str(at.value)
        target = self.resolver.find(reference, at.pointer.rpartition("/")[0])
        if target is None:  # it refers to a metaschema, which only the validator knows
            self.relax(at.pointer, "`$ref`: what it refers to is not in this schema")
            return
        self._targets.setdefault(target)
        rewritten.keywords |= reference_to(target)

    def keep_union(self, rewritten: SchemaBuilder, at: Occurrence) -> None:
        branches = self._each(subschemas(at.schema, at.name), at.pointer)
        if at.name == "oneOf" and self._strict:
            self._work.spend(BRIEF_VISIT * len(branches) ** 2)
            self.one_ofs.append((at.pointer, branches))
        rewritten.unions.append(branches)

    def keep_parts(self, rewritten: SchemaBuilder, at: Occurrence) -> None:
        rewritten.parts += self._each(subschemas(at.schema, at.name), at.pointer)

    def keep_pattern(self, rewritten: SchemaBuilder, at: Occurrence) -> None:
        rewritten.texts += self._pattern(str(at.value), at)

    def keep_format(self, rewritten: SchemaBuilder, at: Occurrence) -> None:
        name = str(at.value)
        if not is_asserted(name, at.schema):
            return
        if name in VALIDATED:
            self.relax(at.pointer, f"`format`: {name} is only validated")
        rewritten.texts += FORMATS.get(name, ())

    def keep_by_pattern(self, rewritten: SchemaBuilder, at: Occurrence) -> None:
        """Rewrites the patterns for the grammar. Two of them may become the same."""
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

    def keep_names(self, rewritten: SchemaBuilder, at: Occurrence) -> None:
        """Turns a rule for names into the properties or patterns that equal it."""
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

    def keep_quantity(self, rewritten: SchemaBuilder, at: Occurrence) -> None:
        enforced_quantity(rewritten, at, self.relax)

    def keep_constants(self, rewritten: SchemaBuilder, at: Occurrence) -> None:
        problems = {*unwritable(at.value)}
        for problem in sorted(problems):
            self.relax(at.pointer, f"`{at.name}`: {problem}")
        if not problems:
            rewritten.keywords[at.name] = at.value
        elif problems == {CONTROL} and at.name == "enum":  # no grammar could admit those constants
            rest = [each for each in as_list(at.value) if not any(unwritable(each))]
            rewritten.keywords |= {at.name: rest} if rest else {}

    def keep_as_it_is(self, rewritten: SchemaBuilder, at: Occurrence) -> None:
        def enforced(schema: Json, below: str) -> Json:
            return self.enforced(as_schema(schema), at.pointer + below)

        rewritten.keywords[at.name] = with_schemas(at.name, at.value, enforced)

    def _each(self, schemas: Sequence[AnySchema], here: str) -> list[AnySchema]:
        return [self.enforced(schema, f"{here}/{i}") for i, schema in enumerate(schemas)]

    def _pattern(self, pattern: str, at: Occurrence) -> list[str]:
        """The expression of the texts that fit a pattern; an empty list if no grammar can hold it."""
        try:
            return [patterns.full_match(pattern)]
        except ValueError as problem:
            self.relax(at.pointer, f"`{at.name}`: {problem}")
            return []

    def _resolved(self, schema: AnySchema) -> AnySchema:
        while isinstance(schema, Mapping) and isinstance(reference := schema.get("$ref"), str):
            if (pointer := self.resolver.find(reference, "")) is None:
                return True
            schema = as_schema(at_pointer(self._schema, pointer))
        return schema


_KEEP: Mapping[str, Callable[[_Check, SchemaBuilder, Occurrence], None]] = {
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
"""How enforced keywords are rewritten. Those that are not listed are copied."""
