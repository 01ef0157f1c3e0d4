"""What the soak asks: every kind of request that the service knows, and clients that leave in every phase.

Schemas and tools are made at random, and hardly one comes twice: what the service keeps of them shows.
"""

import random
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Body: TypeAlias = dict[str, Any]
Phase: TypeAlias = Literal["body", "sent", "head", "stream", "reset"]
PHASES: tuple[Phase, ...] = ("body", "sent", "head", "stream", "reset")
"""When a client leaves: in the middle of its body, at once after it, after the first bytes of the reply, some
time into it, or then with a reset instead of a close.
"""

_PATTERNS = ("^[a-z]{%d,%d}$", "^[A-Z]{%d,%d}-[0-9]{2}$", "^(yes|no|[0-9]{%d,%d})$", "^x.{%d,%d}y$")
_FORMATS = ("date", "date-time", "time", "email", "uuid", "ipv4")
_LEAVES = ("string", "integer", "number", "boolean", "enum", "pattern", "format", "const")
_BRANCHES = ("object", "array", "union", "tuple")
_DEAREST = "a.{20}b"


@dataclass(frozen=True, slots=True)
class Shapes:
    chance: random.Random

    def word(self) -> str:
        return "".join(self.chance.choices(string.ascii_lowercase, k=self.chance.randint(3, 12)))

    def value(self, depth: int) -> Body:
        """Any schema, with at most `depth` levels below it."""
        kind = self.chance.choice((*_LEAVES, *_BRANCHES) if depth else _LEAVES)
        match kind:
            case "array":
                items = self.value(depth - 1)
                return {"type": "array", "items": items, "minItems": 1, "maxItems": self.chance.randint(1, 6)}
            case "tuple":
                pair = [self.value(depth - 1) for _ in range(2)]
                return {"type": "array", "prefixItems": pair, "items": False, "minItems": 2}
            case "union":
                return {"anyOf": [self.value(depth - 1) for _ in range(2)] + [{"type": "null"}]}
            case "object":
                return self.object(depth - 1)
            case _:
                return self._leaf(kind)

    def _leaf(self, kind: str) -> Body:
        choose, low = self.chance, self.chance.randint(1, 6)
        match kind:
            case "string":
                return {"type": "string", "maxLength": choose.randint(1, 60)}
            case "integer" | "number":
                return {"type": kind, "minimum": -low, "maximum": choose.randint(7, 5_000)}
            case "enum":
                return {"enum": [self.word() for _ in range(choose.randint(2, 30))]}
            case "pattern":
                return {"type": "string", "pattern": choose.choice(_PATTERNS) % (low, low + 5)}
            case "format":
                return {"type": "string", "format": choose.choice(_FORMATS)}
            case "const":
                return {"const": choose.choice([self.word(), low, None, [low, self.word()]])}
            case _:
                return {"type": "boolean"}

    def object(self, depth: int) -> Body:
        """A schema of an object with a few properties, some of them required."""
        names = [self.word() for _ in range(self.chance.randint(1, 6))]
        return {
            "type": "object",
            "properties": {name: self.value(depth) for name in names},
            "required": names[: self.chance.randint(1, len(names))],
            "additionalProperties": False,
        }

    def tools(self) -> list[Body]:
        return [
            {"type": "function", "function": {"name": self.word(), "parameters": self.object(2)}}
            for _ in range(self.chance.randint(1, 3))
        ]


def _chat(shapes: Shapes) -> Body:
    return {}


def _long(shapes: Shapes) -> Body:
    return {"filler": shapes.chance.randint(200, 1_200), "max_tokens": 8}


def _choices(shapes: Shapes) -> Body:
    return {"n": shapes.chance.randint(2, 8)}


def _tools(shapes: Shapes) -> Body:
    tools = shapes.tools()
    named = {"type": "function", "function": {"name": tools[0]["function"]["name"]}}
    choice = shapes.chance.choice(["auto", "required", named])
    return {"tools": tools, "tool_choice": choice, "parallel_tool_calls": shapes.chance.random() < 0.5}


def _schema(shapes: Shapes) -> Body:
    asked = shapes.object(3)
    if shapes.chance.random() < 0.2:
        asked["properties"]["next"] = {"anyOf": [{"$ref": "#"}, {"type": "null"}]}
    schema = {"name": "s", "schema": asked, "strict": shapes.chance.random() < 0.3}
    return {"response_format": {"type": "json_schema", "json_schema": schema}, "max_tokens": 120}


def _schema_choices(shapes: Shapes) -> Body:
    return _schema(shapes) | {"n": shapes.chance.randint(2, 4), "max_tokens": 60}


def _dear_schema(shapes: Shapes) -> Body:
    """A schema whose masks are slow to compute, and whose automaton grows with each of them."""
    text = {"type": "string", "pattern": f"{shapes.word()[0]}.{{20}}{shapes.word()[0]}", "maxLength": 900}
    schema = {"type": "object", "properties": {shapes.word(): text}, "additionalProperties": False}
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}}


def _json(shapes: Shapes) -> Body:
    return {"response_format": {"type": "json_object"}}


def _seeded(shapes: Shapes) -> Body:
    return {"seed": shapes.chance.randint(0, 99), "temperature": 1.0}


def _logprobs(shapes: Shapes) -> Body:
    return {"logprobs": True, "top_logprobs": shapes.chance.randint(0, 20)}


def _penalties(shapes: Shapes) -> Body:
    bias = {str(shapes.chance.randrange(1_000)): 2 for _ in range(20)}
    return {"frequency_penalty": 0.5, "presence_penalty": 0.2, "logit_bias": bias, "stop": [". ", "\n\n"]}


def _image(shapes: Shapes) -> Body:
    """A picture, which no text model can read."""
    picture = {"type": "image_url", "image_url": {"url": f"https://example.com/{shapes.word()}.png"}}
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, picture]}]}


def _wrong(shapes: Shapes) -> Body:
    return shapes.chance.choice(
        [
            {"temperature": 9},
            {"model": shapes.word()},
            {"max_tokens": "many"},
            {"messages": []},
            {"tools": [{"type": "function", "function": {"name": "no name!"}}]},
            {"tools": shapes.tools(), "tool_choice": {"type": "function", "function": {"name": "other"}}},
            {shapes.word(): shapes.word(), "n": 0},
            {"filler": 12_000},
        ]
    )


def _refused_schema(shapes: Shapes) -> Body:
    """A strict schema that cannot be enforced."""
    bad = shapes.chance.choice(
        [
            {"$ref": f"#/$defs/{shapes.word()}"},
            {"type": "string", "pattern": f"(?={shapes.word()})"},
            {"allOf": [{"type": "string", "pattern": letter} for letter in "abcdefgh"]},
            {"type": shapes.word()},
        ]
    )
    schema = {"name": "s", "strict": True, "schema": {"type": "object", "properties": {shapes.word(): bad}}}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def _unfollowed(shapes: Shapes) -> Body:
    """A request that may use up its grammar's budget of processor time, and then gets 422."""
    text = {"type": "string", "pattern": _DEAREST, "minLength": 900, "maxLength": 2_000}
    return {
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": text}},
        "max_tokens": 200,
        "n": 4,
    }


KINDS: Mapping[str, tuple[int, Callable[[Shapes], Body]]] = {
    "chat": (10, _chat),
    "long": (4, _long),
    "choices": (5, _choices),
    "tools": (8, _tools),
    "schema": (14, _schema),
    "schema, choices": (4, _schema_choices),
    "slow schema": (2, _dear_schema),
    "json": (3, _json),
    "seeded": (5, _seeded),
    "logprobs": (5, _logprobs),
    "penalties": (3, _penalties),
    "image": (2, _image),
    "wrong": (6, _wrong),
    "refused schema": (4, _refused_schema),
    "unfollowed": (1, _unfollowed),
}
"""How often each kind is asked for, and what makes a request of it."""


def make(chance: random.Random, only: tuple[str, ...] = ()) -> tuple[str, Body]:
    """A random request, and its kind, which is one of `only` unless that is empty."""
    names = only or tuple(KINDS)
    kind = chance.choices(names, [KINDS[name][0] for name in names])[0]
    fields = KINDS[kind][1](Shapes(chance))
    text = f"Number {chance.random()}: tell me about a city.{' and then' * fields.pop('filler', 0)}"
    plain = {"messages": [{"role": "user", "content": text}], "max_tokens": chance.randint(1, 48)}
    return kind, {**plain, "stream": chance.random() < 0.6, **fields}
