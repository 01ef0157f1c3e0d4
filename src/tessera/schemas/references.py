"""Schemas within schemas, and the references between them.

In a `Document` every reference names a definition, by the JSON pointer that the definition had in the schema
of the client. Any part of it can therefore be used alone, together with the definitions that it reaches.

Constants, defaults and examples are data: what looks like a reference in them is none.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import quote, unquote

from tessera.core.chat import Json, JsonObject
from tessera.schemas.keywords import KEYWORDS
from tessera.schemas.work import BRIEF_VISIT, Work

AnySchema: TypeAlias = JsonObject | bool


@dataclass(frozen=True, slots=True)
class Document:
    """A schema whose references all name `definitions`."""

    root: AnySchema
    definitions: Mapping[str, AnySchema]

    def target(self, schema: JsonObject) -> AnySchema:
        """The definition that the `$ref` of `schema` names."""
        return self.definitions[definition_name(schema)]

    def resolve(self, schema: AnySchema) -> AnySchema:
        """Follows a schema that is only a reference."""
        while isinstance(schema, Mapping) and set(schema) == {"$ref"}:
            schema = self.target(schema)
        return schema

    def in_place(self, schema: AnySchema, work: Work, *unions: str) -> Iterator[JsonObject]:
        """What the function `in_place` finds in this document, counted as `work`."""
        for part in in_place(schema, self.target, *unions):
            work.spend(BRIEF_VISIT)
            yield part

    def standing_alone(self, part: AnySchema, work: Work | None = None) -> JsonObject:
        """`part` as a whole schema, with the definitions that it reaches. Counts these as `work`."""
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
    """A name as one token of a JSON pointer."""
    return token.replace("~", "~0").replace("/", "~1")


def unescaped(token: str) -> str:
    """The name that one token of a JSON pointer stands for."""
    return token.replace("~1", "/").replace("~0", "~")


def walk(schema: AnySchema, pointer: str = "") -> Iterator[tuple[str, JsonObject]]:
    """Every schema within `schema`, itself included, with its pointer. Does not recurse."""
    todo: list[tuple[str, Json]] = [(pointer, schema)]
    while todo:
        at, node = todo.pop()
        if isinstance(node, Mapping):
            yield at, node
            for name, value in node.items():
                todo += ((f"{at}/{escaped(name)}{below}", inner) for below, inner in held(name, value))


def held(name: str, value: Json) -> list[tuple[str, Json]]:
    """The schemas in the value of the keyword `name`, each with its pointer below that value."""
    found: list[tuple[str, Json]] = []

    def note(schema: Json, pointer: str) -> Json:
        found.append((pointer, schema))
        return schema

    with_schemas(name, value, note)
    return found


def with_schemas(name: str, value: Json, change: Callable[[Json, str], Json]) -> Json:
    """The value of the keyword `name`, every schema in it changed. `change` takes a schema and its pointer
    below that value.
    """
    holds = KEYWORDS[name].holds if name in KEYWORDS else "value"
    match value:
        case Mapping() if holds == "named schemas":
            return {key: change(each, f"/{escaped(key)}") for key, each in value.items()}
        case Mapping() | bool() if holds == "schema":
            return change(value, "")
        case [*schemas] if holds in ("schema", "schemas"):
            return [change(each, f"/{i}") for i, each in enumerate(schemas)]
        case _:
            return value


def targets(schema: AnySchema) -> set[str]:
    """The names of the definitions that a schema of a `Document` refers to."""
    return {definition_name(node) for _, node in walk(schema) if "$ref" in node}


def in_place(schema: Json, target: Callable[[JsonObject], Json], *unions: str) -> Iterator[JsonObject]:
    """The schemas that hold for a value if `schema` does, by `allOf` and by `$ref`, whose `target` is given;
    and those under the keywords `unions`, which may hold. Each comes with all within it before the next one.
    """
    seen: set[int] = set()
    todo = [schema]
    while todo:
        part = todo.pop()
        if isinstance(part, Mapping) and id(part) not in seen:
            seen.add(id(part))
            yield part
            keywords = [keyword for keyword in ("allOf", *unions) if keyword in part]
            inner = [each for keyword in keywords for _, each in held(keyword, part[keyword])]
            todo += reversed(inner)
            if isinstance(part.get("$ref"), str):
                todo.append(target(part))


def at_pointer(document: Json, pointer: str) -> Json:
    """The value at `pointer`; raises `LookupError`."""
    found = document
    for token in pointer.split("/")[1:]:
        match found:
            case Mapping():
                found = found[unescaped(token)]
            case Sequence() if not isinstance(found, str) and token.isdecimal():
                found = found[int(token)]
            case _:
                raise LookupError(pointer)
    return found


def as_list(value: Json) -> Sequence[Json]:
    """The items of an array; none for other values."""
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()


def as_object(value: Json) -> JsonObject:
    """The members of an object; none for other values."""
    return value if isinstance(value, Mapping) else {}


def subschemas(schema: JsonObject, keyword: str) -> list[AnySchema]:
    """The schemas in the array under `keyword`."""
    return [as_schema(branch) for branch in as_list(schema.get(keyword))]


def as_schema(value: Json) -> AnySchema:
    """A JSON value that the metaschema has already found to be a schema."""
    return value if isinstance(value, Mapping) else bool(value)
