"""Schemas as schema libraries and tool servers write them, each with values that fit.

`Maker` draws from tables of what zod, pydantic and MCP servers really send: formats and the patterns of their
own, nullable values in every spelling, records, tuples, unions, `$defs`, and bounds far beyond what any reply
holds. A value's properties come in the order of its schema, as models write them.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Schema = dict[str, Any]
Drawn = tuple[Schema, Any]

SAFE = 2**53 - 1
_BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9][0-9]|[0-9])"

STRINGS: list[tuple[Schema, list[str]]] = [
    ({}, ["", "hello", "two\nlines", "año 😀", 'a "quoted" word', "5x", "<b>"]),
    ({"minLength": 1}, ["a", "word"]),
    ({"maxLength": 2_000_000_000}, ["", "word"]),
    ({"minLength": 2, "maxLength": 8}, ["ab", "abcdefgh"]),
    ({"format": "date-time"}, ["2024-01-31T10:00:00Z"]),
    ({"format": "date"}, ["2024-02-29"]),
    ({"format": "time"}, ["10:00:00Z"]),
    ({"format": "duration"}, ["P1DT2H"]),
    ({"format": "email"}, ["a.b@example.com"]),
    ({"format": "hostname"}, ["api.example.com"]),
    ({"format": "ipv4"}, ["10.0.0.1"]),
    ({"format": "ipv6"}, ["2001:db8::1"]),
    ({"format": "uuid"}, ["123e4567-e89b-12d3-a456-426614174000"]),
    ({"format": "uri"}, ["https://example.com/a?b=c#d"]),
    ({"format": "uri-reference"}, ["../a/b"]),
    ({"format": "json-pointer"}, ["/a/0"]),
    ({"format": "regex"}, ["^a$"]),
    ({"format": "password"}, ["secret"]),
    ({"format": "binary"}, ["AAEC"]),
    ({"contentEncoding": "base64"}, ["AAEC"]),
    # zod 4
    (
        {
            "format": "email",
            "pattern": r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+"
            r"[A-Za-z]{2,}$",
        },
        ["a.b@example.com"],
    ),
    ({"pattern": r"^[cC][^\s-]{8,}$"}, ["cabcdefgh1"]),
    ({"pattern": "^[0-9a-z]+$"}, ["abc1"]),
    ({"pattern": "^[0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{26}$"}, ["01ARZ3NDEKTSV4RRFFQ69G5FAV"]),
    ({"pattern": "^[a-zA-Z0-9_-]{21}$"}, ["V1StGXR8_Z5jdHi6B-myT"]),
    (
        {
            "format": "base64",
            "pattern": "^$|^(?:[0-9a-zA-Z+/]{4})*(?:(?:[0-9a-zA-Z+/]{2}==)|(?:[0-9a-zA-Z+/]{3}=))?$",
        },
        ["", "AAEC", "AAE="],
    ),
    ({"pattern": "^[A-Za-z0-9_-]*$"}, ["a-b_c"]),
    ({"pattern": r"^\+(?:[0-9]){6,14}[0-9]$"}, ["+34600111222"]),
    ({"pattern": r"^(\p{Extended_Pictographic}|\p{Emoji_Component})+$"}, []),
    ({"pattern": rf"^(?:{_BYTE}\.){{3}}{_BYTE}\/([0-9]|[1-2][0-9]|3[0-2])$"}, ["10.0.0.0/8"]),
    ({"pattern": "^(?!none$)"}, ["some"]),
    # pydantic
    ({"pattern": r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$"}, ["1.50"]),
    ({"pattern": r"^(?:\S+\s+){0,29}\S+$"}, ["a few words"]),
    ({"pattern": r"^(?:[A-Za-z0-9_.~-]|%[0-9A-F]{2})*$"}, ["a%20b"]),
    ({"format": "path"}, ["/tmp/x"]),
    ({"examples": ["a"], "title": "T", "description": "d", "default": "x"}, ["a"]),
    ({"enum": ["light", "dark"]}, ["dark"]),
    ({"const": "v1"}, ["v1"]),
]  # fmt: skip

NUMBERS: list[tuple[Schema, list[Any]]] = [
    ({"type": "integer"}, [0, -7, 12]),
    ({"type": "integer", "minimum": -SAFE, "maximum": SAFE}, [0, 42]),
    ({"type": "integer", "exclusiveMinimum": 0, "maximum": SAFE}, [1, 10]),
    ({"type": "integer", "minimum": 1, "maximum": 100, "default": 10}, [1, 100]),
    ({"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}, [5]),
    ({"type": "integer", "format": "int32"}, [5]),
    ({"type": "number"}, [0, -1.25, 3]),
    ({"type": "number", "minimum": 0, "maximum": 1}, [0, 0.5, 1]),
    ({"type": "number", "exclusiveMinimum": 0}, [0.5]),
    ({"type": "number", "multipleOf": 0.01}, [1.25]),
    ({"type": "number", "minimum": -1.7976931348623157e308, "maximum": 1.7976931348623157e308}, [2.5]),
    ({"type": "boolean"}, [True, False]),
    ({"type": "boolean", "default": False}, [True]),
    ({"type": "null"}, [None]),
    ({"enum": [1, "two", None, True]}, [1, "two", None, True]),
    ({"type": ["integer", "string"]}, [3, "three"]),
    ({}, [None, "x", 3, {"a": [1]}, ["b"]]),
]


@dataclass(slots=True)
class Maker:
    """Draws schemas. `definitions` are the `$defs` of the schema that is being drawn."""

    chance: random.Random
    definitions: dict[str, Drawn]

    def tool(self) -> Drawn:
        """The parameters of a tool, and arguments that fit."""
        self.definitions = {}
        schema, value = self.object(3)
        head = self.chance.choice(
            [
                {},
                {"$schema": "http://json-schema.org/draft-07/schema#"},
                {"$schema": "https://json-schema.org/draft/2020-12/schema"},
                {"$schema": "https://example.com/their-own"},
                {"title": "Arguments", "$id": "https://example.com/tool.json"},
            ]
        )
        below: Schema = {}
        if self.definitions:
            below = {"$defs": {name: each for name, (each, _) in self.definitions.items()}}
        return {**head, **schema, **below}, value

    def any(self, depth: int) -> Drawn:
        """A schema of any kind, at most `depth` schemas deep."""
        kinds: list[Callable[[int], Drawn]] = [self.string, self.string, self.number, self.nullable]
        if depth > 1:
            kinds += [
                self.object,
                self.array,
                self.record,
                self.tuple,
                self.union,
                self.reference,
                self.all_of,
            ]
        return self.chance.choice(kinds)(depth)

    def string(self, _: int) -> Drawn:
        """A rule for texts."""
        rule, values = self.chance.choice([each for each in STRINGS if each[1]])
        return {"type": "string", **rule}, self.chance.choice(values)

    def number(self, _: int) -> Drawn:
        """A number, a boolean, null, a constant, or anything."""
        rule, values = self.chance.choice(NUMBERS)
        return dict(rule), self.chance.choice(values)

    def nullable(self, depth: int) -> Drawn:
        """Null or another value, in one of the forms that libraries write."""
        schema, value = self.string(depth) if self.chance.random() < 0.7 else self.number(depth)
        value = None if self.chance.random() < 0.4 else value
        way = self.chance.randrange(4)
        plain = schema.get("type") in ("string", "integer", "number", "boolean")
        if way == 0 and plain and not schema.keys() & {"enum", "const"}:
            return {**schema, "type": [schema["type"], "null"]}, value
        only_null = schema == {"type": "null"} or None in schema.get("enum", ())
        if way == 1 and not only_null:  # with `oneOf`, null would fit both
            return {"oneOf": [schema, {"type": "null"}]}, _unless_twice(value, schema)
        if way == 2:
            return {"anyOf": [{"type": "null"}, schema], "default": None}, value
        return {"anyOf": [schema, {"type": "null"}], "title": "Maybe"}, value

    def object(self, depth: int) -> Drawn:
        """An object with named properties, some of them required."""
        properties: Schema = {}
        value: dict[str, Any] = {}
        required: list[str] = []
        for name in self.chance.sample(_NAMES, self.chance.randint(0, 4)):
            schema, inner = self.any(depth - 1)
            properties[name] = schema
            needed = self.chance.random() < 0.5
            if needed:
                required.append(name)
            if needed or self.chance.random() < 0.5:
                value[name] = inner
        whole: Schema = {"type": "object", "properties": properties}
        if required:
            whole["required"] = required
        extra = self.chance.choice(["absent", "closed", "closed", "open", "zod", "unevaluated"])
        whole |= {
            "absent": {},
            "closed": {"additionalProperties": False},
            "open": {"additionalProperties": True},
            "zod": {"additionalProperties": {}, "propertyNames": {"type": "string"}},
            "unevaluated": {"unevaluatedProperties": False},
        }[extra]
        if value and self.chance.random() < 0.1:
            whole["minProperties"] = 1
        if self.chance.random() < 0.1:
            whole["dependencies" if self.chance.random() < 0.5 else "dependentRequired"] = {"zzz": ["yyy"]}
        return whole, value

    def array(self, depth: int) -> Drawn:
        """A list of one kind of items."""
        schema, value = self.any(depth - 1)
        bounds = self.chance.choice(
            [{}, {"minItems": 1}, {"maxItems": 3}, {"maxItems": 10**9}, {"maxItems": 5.0}, {"minItems": 0}]
        )
        n = self.chance.randint(1, 2)
        unique: Schema = {"uniqueItems": True} if n == 1 and self.chance.random() < 0.2 else {}
        return {"type": "array", "items": schema, **bounds, **unique}, [value] * n

    def tuple(self, depth: int) -> Drawn:
        """A list of two items, in the new form or the old one."""
        (a, x), (b, y) = self.any(depth - 1), self.any(depth - 1)
        if self.chance.random() < 0.5:
            return {"type": "array", "prefixItems": [a, b], "minItems": 2, "maxItems": 2}, [x, y]
        return {"type": "array", "items": [a, b], "additionalItems": False, "minItems": 2}, [x, y]

    def record(self, depth: int) -> Drawn:
        """An object whose names are not known before."""
        schema, value = self.any(depth - 1)
        name, rule = self.chance.choice(
            [
                ("k", {}),
                ("k", {"propertyNames": {"type": "string"}}),
                ("a", {"propertyNames": {"enum": ["a", "b"]}}),
                ("key_1", {"propertyNames": {"pattern": "^[a-z_0-9]+$"}}),
                ("key", {"propertyNames": {"minLength": 1, "maxLength": 64}}),
            ]
        )
        if self.chance.random() < 0.3:
            return {"type": "object", "patternProperties": {"^k": schema}}, {"k1": value}
        return {"type": "object", "additionalProperties": schema, **rule}, {name: value}

    def union(self, depth: int) -> Drawn:
        """One of two objects, told apart by a constant."""
        branches: list[Drawn] = []
        for kind in ("cat", "dog"):
            schema, value = self.object(depth - 1)
            tag = {"kind": {"type": "string", "const": kind}}
            inner = {**schema, "properties": {**tag, **schema["properties"]}}
            inner["required"] = ["kind", *schema.get("required", [])]
            branches.append((inner, {"kind": kind, **value}))
        word = self.chance.choice(["anyOf", "oneOf"])
        extra: Schema = {"discriminator": {"propertyName": "kind"}} if word == "oneOf" else {}
        return {word: [each for each, _ in branches], **extra}, self.chance.choice(branches)[1]

    def all_of(self, depth: int) -> Drawn:
        """A reference in an `allOf`, which is how Pydantic adds a description."""
        schema, value = self.reference(depth)
        return {"allOf": [schema], "description": "what it is for"}, value

    def reference(self, depth: int) -> Drawn:
        """A reference to a definition."""
        name = f"Model{len(self.definitions)}"
        self.definitions[name] = ({}, None)  # its place, before what it refers to
        self.definitions[name] = drawn = self.object(depth - 1)
        return {"$ref": f"#/$defs/{name}"}, drawn[1]


def maker(seed: int) -> Maker:
    """A maker that draws the same schemas for the same seed."""
    return Maker(random.Random(seed), {})


def _unless_twice(value: Any, schema: Schema) -> Any:
    """With `oneOf`, null must not fit the other branch too."""
    allows_null = schema.get("type") in (None, "null") or "null" in schema.get("type", ())
    return "x" if value is None and allows_null and "enum" not in schema else value


def every_leaf() -> Sequence[tuple[Schema, list[Any]]]:
    """All rows of the tables as whole schemas."""
    return [({"type": "string", **rule}, [*values]) for rule, values in STRINGS] + NUMBERS


_NAMES = ["city", "max_results", "a-b", "filter", "$top", "data.path", "été", "id", "type", "items", "query"]
