"""`$ref` in JSON Schemas: where they point, which circles they may make, what a part needs to stand alone.

References are JSON pointers within the document. What they point at becomes a definition, named by its
pointer, and every reference a reference to a definition: so any part of a schema can be cut out and used by
itself, together with the definitions it reaches.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import quote, unquote

from tessera.core.chat import Json, JsonObject

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

    def standing_alone(self, part: AnySchema) -> JsonObject:
        """`part` as a document of its own, with the definitions that it reaches."""
        reached: dict[str, AnySchema] = {}
        todo = _names(part)
        while todo:
            if (name := todo.pop()) not in reached:
                reached[name] = self.definitions[name]
                todo += _names(reached[name])
        nothing: JsonObject = {"enum": []}
        whole = part if isinstance(part, Mapping) else ({} if part else nothing)
        return {**whole, "$defs": reached} if reached else whole


def reference_to(pointer: str) -> JsonObject:
    """The schema that refers to the definition named `pointer`."""
    return {"$ref": f"#/$defs/{quote(escaped(pointer), safe='~$')}"}


def definition_name(schema: JsonObject) -> str:
    """The name of the definition that a schema of a `Document` refers to."""
    return unescaped(unquote(str(schema["$ref"]).removeprefix("#/$defs/")))


def _names(part: AnySchema) -> list[str]:
    return [unescaped(pointer.removeprefix("/$defs/")) for pointer in sorted(targets(part))]


def escaped(token: str) -> str:
    """One token of a JSON pointer."""
    return token.replace("~", "~0").replace("/", "~1")


def unescaped(token: str) -> str:
    """The text of one token of a JSON pointer."""
    return token.replace("~1", "/").replace("~0", "~")


def canonical_pointer(reference: str) -> str | None:
    """The pointer of a local reference ("" is the root); None for any other reference."""
    if not reference.startswith("#"):
        return None
    pointer = unquote(reference[1:])
    return pointer if not pointer or pointer.startswith("/") else None


def targets(schema: AnySchema) -> set[str]:
    """The pointers of all references in a schema whose references are known to lead to schemas."""
    found: set[str] = set()
    todo: list[Json] = [schema]
    while todo:
        match node := todo.pop():
            case Mapping():
                if isinstance(reference := node.get("$ref"), str):
                    found.add(canonical_pointer(reference) or "")
                todo += node.values()
            case [*items]:
                todo += items
            case _:
                pass
    return found


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


def circular(schema: AnySchema, targets: Iterable[str]) -> str | None:
    """A pointer among `targets` that holds for a value only if it holds for that value, as in
    `{"$ref": "#"}`; or None.
    """
    leads = {target: set(_in_place(as_schema(at_pointer(schema, target)))) for target in targets}
    done: set[str] = set()
    while ready := [name for name, to in leads.items() if name not in done and to <= done]:
        done.update(ready)
    return next((name for name in leads if name not in done), None)


def _in_place(schema: AnySchema) -> Iterator[str]:
    if not isinstance(schema, Mapping):
        return
    if isinstance(reference := schema.get("$ref"), str):
        pointer = canonical_pointer(reference)
        yield from () if pointer is None else (pointer,)
    for keyword in ("not", "if", "then", "else"):
        yield from _in_place(as_schema(schema.get(keyword, True)))
    for keyword in ("allOf", "anyOf", "oneOf"):
        for branch in subschemas(schema, keyword):
            yield from _in_place(branch)
    if isinstance(dependent := schema.get("dependentSchemas"), Mapping):
        for branch in dependent.values():
            yield from _in_place(as_schema(branch))


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
