"""The size of schemas, which is checked before anything recurses into them or compiles them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tessera.core.chat import Json, JsonObject
from tessera.errors import InvalidSchema
from tessera.schemas.references import AnySchema, escaped, walk

MAX_BYTES = 256 * 2**10
MAX_NESTING = 64
"""Levels of JSON. Two of them are one schema inside another by `properties`."""
MAX_PROPERTIES = 5_000
MAX_ENUM_VALUES = 10_000
MAX_PATTERN_CHARACTERS = 16 * 2**10
"""In all patterns together."""
MAX_SCHEMAS = 20_000
"""In the rewritten schema, in which references are laid out."""
MAX_VALUES: Mapping[str, int] = {
    "minLength": 10_000,
    "maxLength": 1_000_000,
    "minItems": 1_000,
    "maxItems": 100_000,
    "minProperties": 1_000,
    "maxProperties": 100_000,
}
"""The largest counts that are enforced."""


@dataclass(frozen=True, slots=True)
class SchemaProblem:
    """Why a schema is refused, and where."""

    pointer: str
    message: str

    def refusal(self, param: str | None) -> InvalidSchema:
        """The error to raise for the schema that the client sent as `param`."""
        where = f"at #{self.pointer[:200]}"
        return InvalidSchema(f"The schema cannot be enforced: {where}: {self.message}.", param=param)


def excess(schema: AnySchema) -> SchemaProblem | None:
    """What is too large in `schema`; None if nothing is. Takes any JSON and does not recurse."""
    if too_deep := next(_too_deep(schema), None):
        return too_deep
    if len(json.dumps(schema)) > MAX_BYTES:
        return SchemaProblem("", f"more than {MAX_BYTES} bytes")
    n_properties = 0
    n_values = 0
    n_pattern = 0
    for pointer, node in walk(schema):
        n_properties += size(node.get("properties"))
        n_values += size(node.get("enum"))
        n_pattern += sum(map(len, _patterns(node)))
        if n_properties > MAX_PROPERTIES:
            return SchemaProblem(pointer, f"`properties`: more than {MAX_PROPERTIES} in all")
        if n_values > MAX_ENUM_VALUES:
            return SchemaProblem(pointer, f"`enum`: more than {MAX_ENUM_VALUES} values in all")
        if n_pattern > MAX_PATTERN_CHARACTERS:
            return SchemaProblem(
                pointer, f"`pattern`: more than {MAX_PATTERN_CHARACTERS} characters in all patterns"
            )
    return None


def _too_deep(schema: AnySchema) -> Iterator[SchemaProblem]:
    todo: list[tuple[Json, str, int]] = [(schema, "", 0)]
    while todo:
        value, pointer, depth = todo.pop()
        if depth > MAX_NESTING:
            yield SchemaProblem(pointer, f"nested deeper than {MAX_NESTING} levels")
            return
        match value:
            case Mapping():
                todo += ((each, f"{pointer}/{escaped(key)}", depth + 1) for key, each in value.items())
            case [*items]:
                todo += ((each, f"{pointer}/{i}", depth + 1) for i, each in enumerate(items))
            case _:
                pass


def _patterns(node: JsonObject) -> Iterator[str]:
    if isinstance(pattern := node.get("pattern"), str):
        yield pattern
    if isinstance(named := node.get("patternProperties"), Mapping):
        yield from named


def size(value: Json) -> int:
    """The number of members or items; 0 for other values."""
    return len(value) if isinstance(value, (Mapping, Sequence)) and not isinstance(value, str) else 0
