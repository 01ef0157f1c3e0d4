"""The check that every schema of a request goes through, by the table of `keywords`.

The result is a document that a grammar can be built from: annotations gone, references uniform, every draft's
forms in those of 2020-12, formats and patterns in the one form that grammars take, `oneOf` turned into the
`anyOf` that it equals.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NoReturn

from tessera.core.chat import Json, JsonObject
from tessera.errors import InvalidSchema
from tessera.prompt import patterns
from tessera.prompt.bounds import MAX_VALUES, excess, size
from tessera.prompt.drafts import Draft, draft_of
from tessera.prompt.exclusive import exclusive
from tessera.prompt.forms import in_new_form
from tessera.prompt.keywords import KEYWORDS, LIMITS, NOTE, RUNGS, Holds
from tessera.prompt.no_effect import has_no_effect, is_anything, names_allowed
from tessera.prompt.references import (
    AnySchema,
    Document,
    Identifiers,
    as_list,
    as_schema,
    at_pointer,
    bottomless,
    circular,
    escaped,
    reference_to,
    subschemas,
    walk,
)
from tessera.prompt.string_formats import FORMATS, VALIDATED
from tessera.prompt.validation import schema_problem

MAX_NUMBER = 2**53
"""Beyond it JSON readers round, so the grammar stays within."""
_MAX_SCHEMAS = 20_000
_MAX_ALTERNATIVES = 24
"""The most optional properties of which "at least one" is spelled out."""


def check_schema(schema: AnySchema, *, strict: bool, param: str, rung: int = 0) -> Document:
    """What the grammar is to enforce of `schema`, on a rung of `keywords.RUNGS`.

    Raises `InvalidSchema`, whose message holds the JSON pointer and the keyword, for a schema that is not
    one, exceeds the bounds, or (with `strict`) holds what cannot be enforced.
    """
    check = _Check(schema, strict, param, RUNGS[rung])
    if problem := excess(schema):
        check.refuse(problem.pointer, problem.message)
    check.read()
    if (pointer := circular(schema, check.find)) is not None:
        check.refuse(pointer, "`$ref`: it refers to itself for one and the same value")
    if problem := schema_problem(schema):
        lost = next(check.lost_references(), None) if not problem.pointer else None
        check.refuse(lost or problem.pointer, "`$ref`: there is no schema at its end" if lost else problem.message)
    document = Document(check.enforced(schema, ""), check.definitions())
    while (pointer := bottomless(document)) is not None:
        check.relax(pointer, "`$ref`: no value that ends can satisfy it")
        document = replace(document, definitions={**document.definitions, pointer: True})
    return document


@dataclass(slots=True)
class _Check:
    """One schema being checked. `targets` are what `$ref`s point at, `n_visited` the schemas rewritten so
    far. Keywords in `left_out` are not enforced.
    """

    schema: AnySchema
    strict: bool
    param: str
    left_out: frozenset[str]
    draft: Draft = 2020
    identifiers: Identifiers = field(default_factory=lambda: Identifiers("$id"))
    targets: dict[str, None] = field(default_factory=dict[str, None])
    n_visited: int = 0

    def read(self) -> None:
        """Finds the draft, and the names that the schema gives to its parts."""
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
        for at, node in walk(self.schema):
            if isinstance(reference := node.get("$ref"), str) and self.find(reference, at) is None:
                yield f"{at}/$ref"

    def refuse(self, pointer: str, problem: str) -> NoReturn:
        raise InvalidSchema(
            f"The schema cannot be enforced: at #{pointer[:200]}: {problem}.", param=self.param
        )

    def relax(self, pointer: str, problem: str) -> None:
        if self.strict:
            self.refuse(pointer, f"{problem}: leave it out, or send strict: false to have it only validated")

    def definitions(self) -> Mapping[str, AnySchema]:
        """Rewrites all that references point at, which may bring up more."""
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
        if "not" in schema and is_anything(schema["not"]):
            return False
        rewritten = _Rewritten()
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
                self._keep(rewritten, name, value, here, new)
        return rewritten.finished()

    def _keep(self, rewritten: "_Rewritten", name: str, value: Json, here: str, schema: JsonObject) -> None:
        match name, value:
            case "$ref", str():
                self._keep_reference(rewritten, value, here)
            case (("oneOf" | "anyOf"), _):
                branches = subschemas(schema, name)
                if name == "oneOf" and self.strict and not exclusive(branches, self._resolved):
                    self.relax(here, "`oneOf`: a value may fit two branches, which a grammar cannot tell")
                rewritten.unions.append(self._each(branches, here))
            case "allOf", _:
                rewritten.parts += self._each(subschemas(schema, name), here)
            case (("pattern" | "format"), str()):
                rewritten.texts += self._texts(name, value, here)
            case "patternProperties", Mapping():
                self._keep_by_pattern(rewritten, value, here)
            case "propertyNames", _:
                self._keep_names(rewritten, as_schema(value), here, schema)
            case (("minProperties" | "maxProperties"), int()):
                self._keep_count(rewritten, name, value, here, schema)
            case _, int() | float() if name in LIMITS:
                self._keep_limit(rewritten, name, value, here)
            case _, int() if name in MAX_VALUES and value > MAX_VALUES[name]:
                self.relax(here, f"`{name}`: more than {MAX_VALUES[name]}")
                if name.startswith("min"):
                    rewritten.keywords[name] = MAX_VALUES[name]
            case (("const" | "enum"), _) if problem := next(_unwritable(value), ""):
                self.relax(here, f"`{name}`: {problem}")
            case _:
                rewritten.keywords[name] = self._inside(KEYWORDS[name].holds, value, here)

    def _keep_reference(self, rewritten: "_Rewritten", reference: str, here: str) -> None:
        target = self.find(reference, here.rpartition("/")[0])
        if target is None:  # a metaschema, which the validator knows
            self.relax(here, "`$ref`: what it refers to is not in this schema")
            return
        self.targets.setdefault(target)
        rewritten.keywords |= reference_to(target)

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

    def _keep_limit(self, rewritten: "_Rewritten", name: str, limit: float, here: str) -> None:
        """A limit beyond `MAX_NUMBER` is drawn in to it, if that leaves any number."""
        if abs(limit) > MAX_NUMBER:
            upper = name in ("maximum", "exclusiveMaximum")
            if name == "multipleOf" or upper != (limit > 0):
                self.relax(here, f"`{name}`: only numbers beyond {MAX_NUMBER}, which JSON readers round")
                return
            limit = MAX_NUMBER if upper else -MAX_NUMBER
        rewritten.keywords[name] = limit

    def _keep_by_pattern(self, rewritten: "_Rewritten", named: JsonObject, here: str) -> None:
        """Schemas by pattern, the patterns as grammars take them; two may have become one."""
        kept: dict[str, Json] = {}
        for pattern, value in named.items():
            at = f"{here}/{escaped(pattern)}"
            schema = self.enforced(as_schema(value), at)
            texts = self._texts("patternProperties", pattern, at)
            rewritten.other_names |= not texts
            for text in texts:
                whole = f"^{text}$"
                kept[whole] = {"allOf": [kept[whole], schema]} if whole in kept else schema
        if kept:
            rewritten.keywords["patternProperties"] = kept

    def _keep_names(self, rewritten: "_Rewritten", names: AnySchema, here: str, schema: JsonObject) -> None:
        """A rule for names, as properties or patterns that equal it."""
        rule = self.enforced(self._resolved(names), here)
        others = self.enforced(as_schema(schema.get("additionalProperties", True)), here)
        listed = names_allowed(rule) if isinstance(rule, Mapping) else None
        if not isinstance(rule, Mapping) or schema.keys() & {"properties", "patternProperties"}:
            self.relax(here, f"`propertyNames`: {KEYWORDS['propertyNames'].why}")
        elif listed is not None:
            rewritten.names = {"properties": dict.fromkeys(listed, others), "additionalProperties": False}
        elif rule.keys() == {"type", "pattern"} or rule.keys() == {"pattern"}:
            by_pattern = {str(rule["pattern"]): others}
            rewritten.names = {"patternProperties": by_pattern, "additionalProperties": False}
        elif not rule.keys() <= {"type"}:
            self.relax(here, f"`propertyNames`: {KEYWORDS['propertyNames'].why}")

    def _texts(self, name: str, value: str, here: str) -> list[str]:
        """The expression of the texts that fit a pattern or format; none if no grammar can hold it."""
        if name == "format":
            if value in VALIDATED:
                self.relax(here, f"`format`: {value} is only validated")
            return [FORMATS[value]] if value in FORMATS else []
        try:
            return [patterns.full_match(value)]
        except ValueError as problem:
            self.relax(here, f"`{name}`: {problem}")
            return []

    def _keep_count(self, rewritten: "_Rewritten", name: str, value: int, here: str, schema: JsonObject) -> None:
        required, properties = as_list(schema.get("required")), schema.get("properties")
        named = properties if isinstance(properties, Mapping) else {}
        closed = schema.get("additionalProperties") is False and "patternProperties" not in schema
        if value <= len(required) if name == "minProperties" else closed and size(named) <= value:
            return
        if named.keys() <= set(required):
            rewritten.keywords[name] = value
        elif (name, value) == ("minProperties", 1) and len(named) <= _MAX_ALTERNATIVES:
            rewritten.unions.append(_at_least_one([*named], closed=closed))
        else:
            self.relax(here, f"`{name}`: {KEYWORDS[name].why}")

    def _resolved(self, schema: AnySchema) -> AnySchema:
        while isinstance(schema, Mapping) and isinstance(reference := schema.get("$ref"), str):
            if (pointer := self.find(reference, "")) is None:
                return True
            schema = as_schema(at_pointer(self.schema, pointer))
        return schema


@dataclass(slots=True)
class _Rewritten:
    """A schema in the making: what may stand only once in a schema is gathered first. `names` are keywords
    that stand for `propertyNames`; `other_names` says that a rule for names was left out, so that none may be
    excluded.
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


def _at_least_one(names: Sequence[str], *, closed: bool) -> list[AnySchema]:
    """One branch for each name that may be the first of those present, and one for any other name."""
    branches: list[AnySchema] = [
        {"properties": dict.fromkeys(names[:i], False), "required": [name]} for i, name in enumerate(names)
    ]
    if not closed:
        branches.append({"properties": dict.fromkeys(names, False), "minProperties": 1})
    return branches


def _unwritable(value: Json) -> Iterator[str]:
    """Why a constant cannot be written as it is."""
    match value:
        case None | bool():
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
