"""Schemas within schemas, and references between them: what a part needs to stand alone.

References are JSON pointers within the document. What they point at becomes a definition, named by its
pointer, and every reference a reference to a definition: so any part of a schema can be cut out and used by
itself, together with the definitions it reaches.

Constants, defaults and examples are data: what looks like a reference there is none (`walk`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import quote, unquote

from tessera.core.chat import Json, JsonObject
from tessera.schemas.keywords import KEYWORDS
from tessera.schemas.work import Work

AnySchema: TypeAlias = JsonObject | bool


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

    def standing_alone(self, part: AnySchema, work: Work | None = None) -> JsonObject:
        """`part` as a document of its own, with the definitions that it reaches. Counts them as `work`."""
        reached: dict[str, AnySchema] = {}
        todo = sorted(targets(part))
        while todo:
            if (name := todo.pop()) not in reached:
                reached[name] = self.definitions[name]
                if work:
                    work.spend()
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


def as_object(value: Json) -> JsonObject:
    """The members of an object; none for other values."""
    return value if isinstance(value, Mapping) else {}


def subschemas(schema: JsonObject, keyword: str) -> list[AnySchema]:
    """The schemas in the list under `keyword`."""
    return [as_schema(branch) for branch in as_list(schema.get(keyword))]


def as_schema(value: Json) -> AnySchema:
    """A JSON value that the metaschema has already found to be a schema."""
    return value if isinstance(value, Mapping) else bool(value)
