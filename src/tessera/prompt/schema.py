"""The check that every schema of a request goes through, by the table of `keywords`.

Out of it come documents the grammar can be built from: annotations gone, references uniform, formats and
patterns in the one form that grammars take, `oneOf` turned into the `anyOf` that it equals.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from tessera.core.chat import Json, JsonObject
from tessera.errors import InvalidSchema
from tessera.prompt import patterns
from tessera.prompt.bounds import excess, size
from tessera.prompt.exclusive import exclusive
from tessera.prompt.keywords import KEYWORDS, LIMITS, NOTE, Holds
from tessera.prompt.references import (
    AnySchema,
    Document,
    as_schema,
    at_pointer,
    bottomless,
    canonical_pointer,
    circular,
    escaped,
    reference_to,
    subschemas,
    targets,
)
from tessera.prompt.string_formats import FORMATS, VALIDATED
from tessera.prompt.validation import schema_problem

MAX_NUMBER = 2**53
"""Beyond it JSON readers round, so the grammar stays within."""
_MAX_SCHEMAS = 5_000


def check_schema(schema: AnySchema, *, strict: bool, param: str) -> Document:
    """What the grammar is to enforce of `schema`.

    Raises `InvalidSchema`, whose message holds the JSON pointer and the keyword, for a schema that is not
    one, exceeds the bounds, or (with `strict`) holds what cannot be enforced.
    """
    check = _Check(schema, strict, param)
    if problem := excess(schema) or schema_problem(schema):
        check.refuse(problem.pointer, problem.message)
    if (pointer := circular(schema, targets(schema))) is not None:
        check.refuse(pointer, "`$ref`: it refers to itself for one and the same value")
    document = Document(check.enforced(schema, ""), check.definitions())
    if (pointer := bottomless(document)) is not None:
        check.refuse(pointer, "`$ref`: no value that ends can satisfy it")
    return document


@dataclass(slots=True)
class _Check:
    """One schema on its way. `targets` are what `$ref`s turned out to point at, `n_visited` the schemas
    rewritten.
    """

    schema: AnySchema
    strict: bool
    param: str
    targets: dict[str, None] = field(default_factory=dict[str, None])
    n_visited: int = 0

    def refuse(self, pointer: str, problem: str) -> NoReturn:
        raise InvalidSchema(
            f"The schema cannot be enforced: at #{pointer[:200]}: {problem}.", param=self.param
        )

    def relax(self, pointer: str, problem: str) -> None:
        if self.strict:
            self.refuse(pointer, f"{problem}: leave it out, or send strict: false to have it only validated")

    def definitions(self) -> Mapping[str, AnySchema]:
        """Rewrite all that references point at, which may bring up more."""
        found: dict[str, AnySchema] = {}
        while waiting := [target for target in self.targets if target not in found]:
            for target in waiting:
                found[target] = self.enforced(as_schema(at_pointer(self.schema, target)), target)
        return found

    def enforced(self, schema: AnySchema, pointer: str) -> AnySchema:
        """The schema as the grammar is to have it."""
        self.n_visited += 1
        if self.n_visited > _MAX_SCHEMAS:
            self.refuse(pointer, f"more than {_MAX_SCHEMAS} schemas once its references are laid out")
        if isinstance(schema, bool):
            return schema
        draft = _Draft()
        for name, value in schema.items():
            keyword = KEYWORDS.get(name, NOTE)
            here = f"{pointer}/{escaped(name)}"
            match keyword.fate:
                case "annotation":
                    pass
                case "refused":
                    self.refuse(here, f"`{name}`: {keyword.why}")
                case "relaxed":
                    if (name, value) != ("uniqueItems", False):
                        self.relax(here, f"`{name}`: {keyword.why}")
                case "enforced":
                    self._keep(draft, name, value, here, schema)
        return draft.finished()

    def _keep(self, draft: "_Draft", name: str, value: Json, here: str, schema: JsonObject) -> None:
        match name, value:
            case "$ref", str():
                target = canonical_pointer(value) or ""
                self.targets.setdefault(target)
                draft.keywords |= reference_to(target)
            case (("oneOf" | "anyOf"), _):
                branches = subschemas(schema, name)
                if name == "oneOf" and not exclusive(branches, self._resolved):
                    self.relax(here, "`oneOf`: a value may fit two branches, which a grammar cannot tell")
                draft.unions.append(self._each(branches, here))
            case "allOf", _:
                draft.parts += self._each(subschemas(schema, name), here)
            case (("pattern" | "format"), str()):
                draft.texts += self._texts(name, value, here)
            case "patternProperties", Mapping():
                draft.keywords[name] = self._by_pattern(name, value, here)
            case (("minProperties" | "maxProperties"), int()):
                self._keep_count(draft, name, value, here, schema)
            case _, int() | float() if name in LIMITS and not isinstance(value, bool):
                draft.keywords[name] = self._within_numbers(name, value, here)
            case (("const" | "enum"), _) if problem := next(_unwritable(value), ""):
                self.relax(here, f"`{name}`: {problem}")
            case _:
                draft.keywords[name] = self._inside(KEYWORDS[name].holds, value, here)

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

    def _within_numbers(self, name: str, limit: float, here: str) -> float:
        """A limit beyond `MAX_NUMBER` is drawn in to it; what it then leaves empty is refused."""
        if abs(limit) <= MAX_NUMBER:
            return limit
        upper = name in ("maximum", "exclusiveMaximum")
        if name == "multipleOf" or upper != (limit > 0):
            self.refuse(here, f"`{name}`: only numbers beyond {MAX_NUMBER}, which JSON readers round")
        return MAX_NUMBER if upper else -MAX_NUMBER

    def _by_pattern(self, name: str, named: JsonObject, here: str) -> JsonObject:
        """Schemas by pattern, the patterns as grammars take them; two may have become one."""
        kept: dict[str, Json] = {}
        for pattern, value in named.items():
            at = f"{here}/{escaped(pattern)}"
            schema = self.enforced(as_schema(value), at)
            for text in self._texts(name, pattern, at):
                whole = f"^{text}$"
                kept[whole] = {"allOf": [kept[whole], schema]} if whole in kept else schema
        return kept

    def _texts(self, name: str, value: str, here: str) -> list[str]:
        """The expression of the texts that fit a pattern or format; none if no grammar can hold it."""
        try:
            if name != "format":
                return [patterns.full_match(value)]
        except patterns.Hostile as problem:
            self.refuse(here, f"`{name}`: {problem}")
        except patterns.Unsupported as problem:
            self.relax(here, f"`{name}`: {problem}")
            return []
        if value in VALIDATED:
            self.relax(here, f"`format`: {value} is only validated")
        return list(FORMATS.get(value, ()))

    def _keep_count(self, draft: "_Draft", name: str, value: int, here: str, schema: JsonObject) -> None:
        n_required, n_named = size(schema.get("required")), size(schema.get("properties"))
        if name == "minProperties":
            implied, exact = value <= n_required, value <= 1
        else:
            closed = schema.get("additionalProperties") is False and "patternProperties" not in schema
            implied, exact = closed and n_named <= value, n_named <= n_required
        if exact and not implied:
            draft.keywords[name] = value
        elif not implied:
            self.relax(here, f"`{name}`: {KEYWORDS[name].why}")

    def _resolved(self, schema: AnySchema) -> AnySchema:
        while isinstance(schema, Mapping) and isinstance(reference := schema.get("$ref"), str):
            schema = as_schema(at_pointer(self.schema, canonical_pointer(reference) or ""))
        return schema


@dataclass(slots=True)
class _Draft:
    """A rewritten schema in the making: what may stand only once in a schema is gathered first."""

    keywords: dict[str, Json] = field(default_factory=dict[str, Json])
    unions: list[list[AnySchema]] = field(default_factory=list[list[AnySchema]])
    parts: list[AnySchema] = field(default_factory=list[AnySchema])
    texts: list[str] = field(default_factory=list[str])

    def finished(self) -> JsonObject:
        for keyword, values in (("pattern", [f"^{text}$" for text in self.texts]), ("anyOf", self.unions)):
            if values:
                self.keywords[keyword] = values[0]
                self.parts += [{keyword: value} for value in values[1:]]
        if self.parts:
            self.keywords["allOf"] = self.parts
        return self.keywords


def _unwritable(value: Json) -> Iterator[str]:
    """Why a grammar cannot hold a constant. Names are written whatever they hold."""
    match value:
        case bool() | None:
            pass
        case str():
            if patterns.UNWRITABLE.search(value):
                yield patterns.CONTROL
        case int() | float():
            if abs(value) > MAX_NUMBER:
                yield f"a number beyond {MAX_NUMBER}, which JSON readers round"
        case Mapping():
            yield from (problem for each in value.values() for problem in _unwritable(each))
        case _:
            yield from (problem for each in value for problem in _unwritable(each))
