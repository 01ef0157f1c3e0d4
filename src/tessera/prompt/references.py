"""`$ref` in JSON Schemas: where they point, which circles they may make, what a part needs to stand alone.

References are JSON pointers within the document. What they point at becomes a definition, named by its
pointer, and every reference a reference to a definition: so any part of a schema can be cut out and used by
itself, together with the definitions it reaches.

Constants, defaults and examples are data: what looks like a reference there is none (`walk`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import quote, unquote, urldefrag, urljoin

from tessera.core.chat import Json, JsonObject
from tessera.prompt.keywords import KEYWORDS

AnySchema: TypeAlias = JsonObject | bool

_IN_PLACE = frozenset(
    ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies")
)


@dataclass(frozen=True, slots=True)
class Document:
    """A schema whose references all name `definitions`, by the pointer they had in what the client sent."""

    root: AnySchema
    definitions: Mapping[str, AnySchema]

    def resolve(self, schema: AnySchema) -> AnySchema:
        """What a schema that is nothing but a reference stands for."""
        while isinstance(schema, Mapping) and set(schema) == {"$ref"}:
            schema = self.definitions[definition_name(schema)]
        return schema

    def standing_alone(self, part: AnySchema) -> JsonObject:
        """`part` as a document of its own, with the definitions that it reaches."""
        reached: dict[str, AnySchema] = {}
        todo = sorted(targets(part))
        while todo:
            if (name := todo.pop()) not in reached:
                reached[name] = self.definitions[name]
                todo += sorted(targets(reached[name]))
        nothing: JsonObject = {"enum": []}
        whole = part if isinstance(part, Mapping) else ({} if part else nothing)
        return {**whole, "$defs": reached} if reached else whole


def reference_to(pointer: str) -> JsonObject:
    """The schema that refers to the definition named `pointer`."""
    return {"$ref": f"#/$defs/{quote(escaped(pointer), safe='~$')}"}


def definition_name(schema: JsonObject) -> str:
    """The name of the definition that a schema of a `Document` refers to."""
    return unescaped(unquote(str(schema["$ref"]).removeprefix("#/$defs/")))


def escaped(token: str) -> str:
    """One token of a JSON pointer."""
    return token.replace("~", "~0").replace("/", "~1")


def unescaped(token: str) -> str:
    """The text of one token of a JSON pointer."""
    return token.replace("~1", "/").replace("~0", "~")


def walk(schema: AnySchema, pointer: str = "") -> Iterator[tuple[str, JsonObject]]:
    """Every schema within `schema`, with its pointer, by the keywords that hold schemas. Does not recurse."""
    todo: list[tuple[str, Json]] = [(pointer, schema)]
    while todo:
        at, node = todo.pop()
        if isinstance(node, Mapping):
            yield at, node
            for name, value in node.items():
                todo += ((f"{at}/{escaped(name)}{below}", inner) for below, inner in held(name, value))


def held(name: str, value: Json) -> Iterator[tuple[str, Json]]:
    """The schemas in the value of the keyword `name`, each with its pointer below that value."""
    holds = KEYWORDS[name].holds if name in KEYWORDS else "value"
    match value:
        case Mapping() if holds == "named schemas":
            yield from ((f"/{escaped(key)}", each) for key, each in value.items())
        case Mapping() | bool() if holds == "schema":
            yield "", value
        case [*schemas] if holds in ("schema", "schemas"):
            yield from ((f"/{i}", each) for i, each in enumerate(schemas))
        case _:
            pass


def with_schemas(name: str, value: Json, change: Callable[[Json], Json]) -> Json:
    """The value of the keyword `name`, every schema in it changed."""
    holds = KEYWORDS[name].holds if name in KEYWORDS else "value"
    match value:
        case Mapping() if holds == "named schemas":
            return {key: change(each) for key, each in value.items()}
        case Mapping() | bool() if holds == "schema":
            return change(value)
        case [*schemas] if holds in ("schema", "schemas"):
            return [change(each) for each in schemas]
        case _:
            return value


@dataclass(slots=True)
class Identifiers:
    """The names that parts of a schema have by `$id` and `$anchor`, and the pointers that they stand for."""

    id_keyword: str
    _places: dict[str, str] = field(default_factory=dict[str, str])
    _bases: dict[str, str] = field(default_factory=dict[str, str])

    def read(self, schema: AnySchema) -> None:
        """Finds all names in `schema`."""
        self._bases[""] = self._places[""] = ""
        for pointer, node in walk(schema):
            base = self._base_of(pointer)
            if isinstance(name := node.get(self.id_keyword), str):
                uri, anchor = urldefrag(_joined(base, name))
                if anchor:  # "$id": "#name", as it was before `$anchor`
                    self._places.setdefault(f"{uri}#{anchor}", pointer)
                else:
                    self._bases[pointer] = base = uri
                    self._places.setdefault(uri, pointer)
            for keyword in ("$anchor", "$dynamicAnchor"):
                if isinstance(anchor := node.get(keyword), str):
                    self._places.setdefault(f"{base}#{anchor}", pointer)

    def pointer(self, reference: str, at: str) -> str | None:
        """What `reference`, which stands at the pointer `at`, points at; None for nothing in this schema."""
        uri, fragment = urldefrag(_joined(self._base_of(at), reference))
        fragment = unquote(fragment)
        if fragment and not fragment.startswith("/"):
            return self._places.get(f"{uri}#{fragment}")
        root = self._places.get(uri)
        return None if root is None else root + fragment

    def _base_of(self, pointer: str) -> str:
        while pointer not in self._bases:
            pointer = pointer.rpartition("/")[0]
        return self._bases[pointer]


def _joined(base: str, reference: str) -> str:
    if reference.startswith("#"):
        return base + reference
    try:
        return urljoin(base, reference)
    except ValueError:
        return reference


def targets(schema: AnySchema) -> set[str]:
    """The names of the definitions that a schema of a `Document` refers to."""
    return {definition_name(node) for _, node in walk(schema) if "$ref" in node}


def at_pointer(document: Json, pointer: str) -> Json:
    """What `pointer` points at; raises `LookupError`."""
    found = document
    for token in pointer.split("/")[1:]:
        match found:
            case Mapping():
                found = found[unescaped(token)]
            case Sequence() if not isinstance(found, str) and token.isdigit():
                found = found[int(token)]
            case _:
                raise LookupError(pointer)
    return found


Find: TypeAlias = Callable[[str, str], str | None]
"""The pointer of what a reference, which stands at a pointer, points at; None for nothing in the schema."""


def circular(schema: AnySchema, find: Find) -> str | None:
    """The pointer of a schema that holds for a value only if it holds for that very value, as
    `{"$ref": "#"}` does; or None.
    """
    leads: dict[str, set[str]] = {}
    todo = [""]
    while todo:
        if (pointer := todo.pop()) not in leads:
            below = as_schema(at_pointer(schema, pointer))
            todo += (to for at, node in walk(below, pointer) for to in _references(node, at, find))
            leads[pointer] = set(_in_place(below, pointer, find))
    done: set[str] = set()
    while ready := [name for name, to in leads.items() if name not in done and to <= done]:
        done.update(ready)
    return next((name for name in leads if name not in done), None)


def _references(node: JsonObject, at: str, find: Find) -> Iterator[str]:
    if isinstance(reference := node.get("$ref"), str) and (pointer := find(reference, at)) is not None:
        yield pointer


def _in_place(schema: AnySchema, pointer: str, find: Find) -> Iterator[str]:
    """What a schema refers to for the very value that it is applied to."""
    todo: list[tuple[str, Json]] = [(pointer, schema)]
    while todo:
        at, node = todo.pop()
        if isinstance(node, Mapping):
            yield from _references(node, at, find)
            for name in _IN_PLACE & node.keys():
                todo += ((f"{at}/{name}{below}", inner) for below, inner in held(name, node[name]))


def bottomless(document: Document) -> str | None:
    """The name of a definition that no finite value satisfies, such as a list whose every node needs a next
    one; or None.
    """
    finite: set[str] = set()
    while more := [
        name
        for name, schema in document.definitions.items()
        if name not in finite and _is_finite(schema, finite)
    ]:
        finite.update(more)
    return next((name for name in document.definitions if name not in finite), None)


def _is_finite(schema: AnySchema, finite: set[str]) -> bool:
    """Whether a value can end, if it can for the definitions in `finite`."""
    if not isinstance(schema, Mapping):
        return True
    if "$ref" in schema and definition_name(schema) not in finite:
        return False
    for keyword, among in (("allOf", all), ("anyOf", any)):
        branches = subschemas(schema, keyword)
        if branches and not among(_is_finite(branch, finite) for branch in branches):
            return False
    types = types_named(schema)
    if types == {"object"} and not all(_is_finite(needed, finite) for needed in _needed(schema)):
        return False
    if types == {"array"} and schema.get("minItems"):
        return _is_finite(as_schema(schema.get("items", True)), finite)
    return True


def _needed(schema: JsonObject) -> Iterator[AnySchema]:
    properties, required = schema.get("properties"), schema.get("required")
    if isinstance(properties, Mapping) and isinstance(required, Sequence):
        for name in required:
            yield as_schema(properties.get(str(name), True))


def types_named(schema: JsonObject) -> set[str]:
    """What `type` says; without it, every type."""
    match schema.get("type"):
        case str(name):
            return {name}
        case [*names]:
            return {str(name) for name in names}
        case _:
            return {"null", "boolean", "integer", "number", "string", "array", "object"}


def as_list(value: Json) -> Sequence[Json]:
    """The items of a list; nothing for other values."""
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()


def subschemas(schema: JsonObject, keyword: str) -> list[AnySchema]:
    """The schemas in the list under `keyword`."""
    return [as_schema(branch) for branch in as_list(schema.get(keyword))]


def as_schema(value: Json) -> AnySchema:
    """A JSON value that the metaschema has already found to be a schema."""
    return value if isinstance(value, Mapping) else bool(value)
