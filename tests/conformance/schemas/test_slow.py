"""Schemas of up to 256 KiB that are slow to analyse: each has the same verdict within the limits of its
process, whatever else runs, and no verdict is that the limits did not suffice.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tessera.core.chat import ChatRequest, JsonSchema, Tool
from tessera.errors import InvalidSchema
from tessera.formats.hermes import HERMES
from tessera.formats.qwen3 import QWEN3
from tessera.grammars.checker import GrammarCheck
from tessera.grammars.question import TOO_MUCH

pytestmark = pytest.mark.anyio


def ref(i: int) -> dict[str, Any]:
    return {"$ref": f"#/$defs/d{i}"}


def chain(n: int, link: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    definitions: dict[str, Any] = {f"d{i}": link(ref(i + 1)) for i in range(n)}
    return {**ref(0), "$defs": {**definitions, f"d{n}": {"type": "string"}}}


def circle(n: int, link: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    return {**ref(0), "$defs": {f"d{i}": link(ref((i + 1) % n)) for i in range(n)}}


def objects(name: Callable[[int], str], n: int) -> list[dict[str, Any]]:
    return [{"type": "object", "properties": {name(i): {"type": "string"}}} for i in range(n)]


def needing(*names: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda to: {"type": "object", "properties": dict.fromkeys(names, to), "required": [*names]}


def tagged(n: int) -> list[dict[str, Any]]:
    return [{"type": "object", "properties": {"k": {"const": i}}, "required": ["k"]} for i in range(n)]


SLOW: dict[str, Any] = {
    "references": chain(4_900, lambda to: to),
    "parts": chain(3_000, lambda to: {"allOf": [to]}),
    "unions": chain(500, lambda to: {"anyOf": [to, {"type": "null"}]}),
    "items": chain(3_000, lambda to: {"type": "array", "items": to}),
    "members": chain(2_000, needing("a")),
    "endless members": circle(1_500, needing("a")),
    "a circle": circle(4_900, lambda to: to),
    "a wide union": {"anyOf": tagged(3_000)},
    "a wide exclusive union": {"oneOf": tagged(64)},
    "twice the same objects": {**chain(40, needing(*"abcdefgh")), "$ref": None, "oneOf": [ref(0), ref(0)]},
    "numbers": {"enum": [*range(9_000)]},
    "many members": {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(4_900)}},
    "many parts": {"allOf": objects(lambda i: f"p{i}", 1_000)},
    "many branches": {"anyOf": objects(lambda i: f"p{i}", 1_000)},
    "many patterns": {"properties": {f"p{i}": {"pattern": f"^[a-z]{{{i % 9 + 1}}}x$"} for i in range(600)}},
    "all letters": {"type": "string", "allOf": [{"pattern": letter} for letter in "abcdefgh"]},
    "repeats without anchors": {
        "patternProperties": {"[A-Za-z0-9-_.:]{1,255}": {"type": "string", "format": "uri"}}
    },
}
del SLOW["twice the same objects"]["$ref"]
NO_SCHEMA = {"a circle"}
STRICT = {"a wide union", "a wide exclusive union", "numbers", "many patterns"}


@pytest.fixture
async def check() -> AsyncIterator[GrammarCheck]:
    check = GrammarCheck({"<|im_end|>": 256}, 257, HERMES.syntax, deadline_s=300, wait_s=300)
    yield check
    await check.aclose()


async def verdict(check: GrammarCheck, request: ChatRequest) -> str | None:
    try:
        return None if await check.grammar(request) else "no grammar"
    except InvalidSchema as refusal:
        return refusal.message


@pytest.mark.parametrize("name", SLOW)
async def test_a_slow_schema_has_its_verdict(check: GrammarCheck, name: str) -> None:
    assert len(json.dumps(SLOW[name])) <= 256 * 2**10
    lenient, strict = [
        await verdict(check, ChatRequest((), answer_format=JsonSchema("x", SLOW[name], strict)))
        for strict in (False, True)
    ]
    assert (lenient is None) == (name not in NO_SCHEMA), lenient
    if name in STRICT:
        assert strict is None
    if name in {"all letters", "repeats without anchors", "a circle", "twice the same objects"}:
        assert strict is not None


@pytest.mark.parametrize("name", ["unions", "many parts", "many members", "many patterns"])
async def test_the_same_as_parameters_that_are_written_one_by_one(name: str) -> None:
    check = GrammarCheck({"<|im_end|>": 256}, 257, QWEN3.syntax, deadline_s=300, wait_s=300)
    try:
        assert await verdict(check, ChatRequest((), tools=(Tool("f", SLOW[name], {}),))) is None
    finally:
        await check.aclose()


async def test_what_no_validator_can_check_is_refused_at_once(check: GrammarCheck) -> None:
    fan = {f"d{i}": {"allOf": [ref(i + 1), ref(i + 1)]} for i in range(40)}
    schema = {**ref(0), "$defs": {**fan, "d40": {"type": "object"}}}
    refusal = await verdict(check, ChatRequest((), answer_format=JsonSchema("x", schema)))
    assert refusal is not None
    assert TOO_MUCH in refusal


async def test_a_verdict_does_not_depend_on_load(check: GrammarCheck) -> None:
    """990 optional properties, eight different requests at once, beside loops on all processors."""
    loop = [sys.executable, "-c", "while True: pass"]
    busy = [await asyncio.create_subprocess_exec(*loop) for _ in range(4)]
    try:
        requests = [
            ChatRequest((), answer_format=JsonSchema("x", {"type": "object", "properties": properties}, True))
            for properties in ({f"p{k}x{i}": {"type": "string"} for i in range(990)} for k in range(8))
        ]
        assert await asyncio.gather(*(verdict(check, request) for request in requests)) == [None] * 8
    finally:
        for process in busy:
            process.kill()
            await process.wait()
