"""Fifty schemas made to hurt: each has its verdict in bounded time, and what goes on beside is not held up.

Strict ones are refused if they cannot be enforced; without strict only what is no schema, or too large, is.
"""

import asyncio
import json
import time
from typing import Any

import pytest

from tessera.core.chat import ChatRequest, JsonSchema
from tessera.errors import InvalidSchema
from tessera.formats.hermes import HERMES
from tessera.grammars.checker import GrammarCheck

REDOS = [
    "(a+)+$",
    "^(([a-z])+.)+[A-Z]([a-z])+$",
    "(a|aa)+$",
    "(a|a?)+$",
    "(.*a){25}",
    "([a-zA-Z]+)*$",
    "(x+x+)+y",
    "^(\\w+\\s?)*$",
    "(a?){100}a{100}",
    "((a{1,100}){1,100}){1,100}",
    "(.*a.{200}){50}",
    "(\\d+\\.?)+$",
    "^(a|b|ab)*c$",
    "a{100000}",
    "(?=(a+))a*b\\1",
]


def nested(depth: int, keyword: str = "items") -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"properties": {"a": schema}} if keyword == "properties" else {keyword: schema}
    return schema


def alternatives(n: int) -> list[dict[str, Any]]:
    return [
        {"anyOf": [{"type": "object", "properties": {f"p{i}x{j}": {"type": "string"}}} for j in range(n)]}
        for i in range(n)
    ]


def both_trees() -> dict[str, Any]:
    trees = {n: {"type": "object", "properties": {"c": {"$ref": f"#/$defs/{n}"}}} for n in ("s", "t")}
    return {"allOf": [{"$ref": "#/$defs/s"}, {"$ref": "#/$defs/t"}], "$defs": trees}


def doubling(n: int) -> dict[str, Any]:
    ref = [{"$ref": f"#/$defs/d{i - 1}"} for i in range(n + 1)]
    definitions = {f"d{i}": {"allOf": [ref[i], {**ref[i], "minProperties": 1}]} for i in range(1, n + 1)}
    return {
        "$ref": f"#/$defs/d{n}",
        "$defs": {"d0": {"properties": {"x": {"type": "string"}}}, **definitions},
    }


HOSTILE: dict[str, Any] = {
    **{f"backtracking {p}": {"type": "string", "pattern": p} for p in REDOS},
    "deep 10,000": nested(10_000),
    "deep 100,000": nested(100_000, "properties"),
    "deep not": nested(300, "not"),
    "deep enum": {"enum": [json.loads("[" * 900 + "]" * 900)]},
    "many properties": {"properties": {f"p{i}": {} for i in range(5_001)}},
    "many values": {"enum": list(range(10_001))},
    "many bytes": {"description": "x" * 270_000},
    "many items": {"type": "array", "maxItems": 10**9},
    "at least many items": {"type": "array", "minItems": 10**9},
    "long text": {"type": "string", "maxLength": 10**9},
    "long pattern": {"type": "string", "pattern": "a" * 10_000},
    "many patterns": {"anyOf": [{"pattern": "(.a|b.)" * 33 + str(i)} for i in range(220)]},
    "many groups": {"type": "string", "pattern": "(" * 120 + ")" * 120},
    "many members": {"type": "object", "minProperties": 10**9},
    "minimum out of range": {"type": "integer", "minimum": 10**400},
    "tiny multiples": {"type": "integer", "multipleOf": 987_654_321},
    "nothing fits a string": {"type": "string", "minLength": 5, "maxLength": 2},
    "nothing fits a number": {"type": "integer", "minimum": 5, "maximum": 2},
    "nothing fits": {"type": "object", "required": ["a"], "additionalProperties": False},
    "false": False,
    "circle": {"$ref": "#"},
    "circle of two": {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    "circle by allOf": {"allOf": [{"$ref": "#"}]},
    "circle by not": {"not": {"$ref": "#"}},
    "circle by if": {"if": {"$ref": "#"}, "then": False},
    "endless list": {"type": "object", "properties": {"n": {"$ref": "#"}}, "required": ["n"]},
    "endless array": {"type": "array", "items": {"$ref": "#"}, "minItems": 1},
    "remote": {"$ref": "http://127.0.0.1:9/schema.json"},
    "file": {"$ref": "file:///etc/passwd"},
    "nowhere": {"$ref": "#/$defs/none"},
    "no schema there": {"$ref": "#/title", "title": "x"},
    "all of any": {"allOf": alternatives(10)},
    "two trees": both_trees(),
    "patterns that must all hold": {
        "type": "string",
        "allOf": [{"pattern": f"a.*{chr(98 + i)}.*c"} for i in range(20)],
    },
    "more patterns that must all hold": {
        "type": "string",
        "allOf": [{"pattern": f"^(a|{chr(98 + i)})*.{{{i + 3}}}$"} for i in range(20)],
    },
    "no type": {"type": "anything"},
    "no schema": {"properties": []},
    "no pattern": {"pattern": "["},
}


# What is no JSON Schema, too large, or refers to nothing.
REFUSED = {
    "deep 10,000", "deep 100,000", "deep not", "deep enum", "many bytes", "many properties", "many values",
    "many patterns", "circle", "circle of two", "circle by allOf", "circle by not", "circle by if", "remote",
    "file", "nowhere", "no schema there", "no type", "no schema", "no pattern",
}  # fmt: skip
# What only looks dear: a linear automaton follows it.
TAKEN = {f"backtracking {p}" for p in REDOS if "(?=" not in p}


def test_there_are_fifty() -> None:
    assert len(HOSTILE) >= 50
    assert HOSTILE.keys() >= REFUSED | TAKEN


@pytest.mark.anyio
async def test_each_has_a_verdict_within_its_processor_time_and_the_loop_goes_on() -> None:
    check = GrammarCheck({"<|im_end|>": 256}, 257, HERMES.syntax, deadline_s=300)
    stalls_s: list[float] = []
    beat = asyncio.create_task(keep_pace(stalls_s))
    verdicts: dict[tuple[str, bool], bool] = {}
    messages: list[str] = []
    try:
        for name, schema in HOSTILE.items():
            for strict in (True, False):
                try:
                    verdicts[name, strict] = await admit(schema, strict, check)
                except InvalidSchema as refusal:
                    verdicts[name, strict] = False
                    messages.append(refusal.message)
    finally:
        beat.cancel()
        await check.aclose()
    assert all("at #" in message and len(message) < 700 for message in messages)
    refused = {name for (name, strict), taken in verdicts.items() if not strict and not taken}
    assert refused == REFUSED
    assert {name for (name, strict), taken in verdicts.items() if strict and taken} == TAKEN
    assert max(stalls_s) < 2.5


async def admit(schema: Any, strict: bool, check: GrammarCheck) -> bool:
    grammar = await check.grammar(ChatRequest((), answer_format=JsonSchema("x", schema, strict)))
    assert grammar is not None
    return True


async def keep_pace(stalls_s: list[float]) -> None:
    """Records the processor time of this process between two turns of its loop."""
    while True:
        begun_s = time.process_time()
        await asyncio.sleep(0.01)
        stalls_s.append(time.process_time() - begun_s)
