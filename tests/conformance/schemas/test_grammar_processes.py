import asyncio
from dataclasses import replace
from typing import Any

import pytest
from tests.strategies import tool

from tessera.core.chat import AnyJsonObject, ChatRequest, FreeText, JsonSchema
from tessera.errors import EngineOverloaded, InvalidSchema
from tessera.formats.hermes import HERMES
from tessera.grammars.checker import GrammarCheck

CONTROL = {"<end>": 256, "<call>": 257}
OBJECT = ChatRequest((), answer_format=AnyJsonObject())
# Patterns that must all hold: the automaton of them together has too many states.
DEAR: dict[str, Any] = {
    "type": "string",
    "allOf": [{"pattern": f"(a|{chr(98 + i)})*.{{{i + 3}}}"} for i in range(20)],
}


def answer(schema: Any, *, strict: bool) -> ChatRequest:
    return ChatRequest((), answer_format=JsonSchema("x", schema, strict))


def grammar_check(**options: Any) -> GrammarCheck:
    return GrammarCheck(CONTROL, 258, HERMES.syntax, **{"deadline_s": 300, "wait_s": 300, **options})


@pytest.mark.anyio
async def test_a_process_is_started_before_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    check = grammar_check(n_processes=1)
    try:
        await check.start()
        monkeypatch.delattr(asyncio, "create_subprocess_exec")
        assert await check.grammar(OBJECT)
        assert await check.grammar(replace(OBJECT, answer_format=FreeText())) is None
    finally:
        await check.aclose()


@pytest.mark.anyio
async def test_what_is_too_dear_is_refused_if_strict_and_else_relaxed() -> None:
    check = grammar_check(n_processes=1)
    try:
        with pytest.raises(InvalidSchema, match="too much time"):
            await check.grammar(answer(DEAR, strict=True))
        relaxed = await check.grammar(answer(DEAR, strict=False))
        assert relaxed is not None
        assert "pattern" not in relaxed.lark
        assert await check.grammar(OBJECT)
        with pytest.raises(InvalidSchema, match="at #: Unsatisfiable") as refusal:
            await check.grammar(answer({"enum": []}, strict=True))
        assert refusal.value.param == "answer_format"
    finally:
        await check.aclose()


@pytest.mark.anyio
async def test_only_the_schema_at_fault_is_relaxed() -> None:
    check = grammar_check(n_processes=1)
    fine = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^kept$"}}}
    dear = {"type": "object", "properties": {"b": DEAR}}
    try:
        request = ChatRequest((), tools=(tool("fine", fine), tool("dear", dear)))
        grammar = await check.grammar(request)
        assert grammar is not None
        assert grammar.lark.count("kept") == 1
        assert grammar.lark.count("pattern") == 1
        strict = replace(request, tools=(request.tools[0], replace(request.tools[1], strict=True)))
        with pytest.raises(InvalidSchema, match="too much time") as refusal:
            await check.grammar(strict)
        assert refusal.value.param == "tools[1].function.parameters"
    finally:
        await check.aclose()


@pytest.mark.anyio
async def test_those_who_wait_too_long_are_asked_to_come_back() -> None:
    check = grammar_check(wait_s=0.01, n_processes=1)
    slow = asyncio.create_task(check.grammar(answer(DEAR, strict=True)))
    try:
        await asyncio.sleep(0)
        with pytest.raises(EngineOverloaded):
            await check.grammar(OBJECT)
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        assert await check.grammar(OBJECT)
    finally:
        await check.aclose()


@pytest.mark.anyio
async def test_a_machine_that_is_too_busy_is_no_verdict() -> None:
    check = grammar_check(deadline_s=0.001, n_processes=1)
    try:
        with pytest.raises(EngineOverloaded):
            await check.grammar(answer(DEAR, strict=True))
    finally:
        await check.aclose()
