import asyncio
import json

import pytest

from tessera.core.generation import Grammar
from tessera.errors import EngineOverloaded, InvalidSchema
from tessera.text.grammar_check import GrammarCheck
from tessera.text.grammar_trial import byte_tokenizer, problem

CONTROL = {"<end>": 256, "<call>": 257}
SLOW = Grammar(
    "start: %json "
    + json.dumps(
        {"type": "string", "allOf": [{"pattern": f"(a|{chr(98 + i)})*.{{{i + 3}}}"} for i in range(20)]}
    )
)


def tried(lark: str) -> str | None:
    return problem(lark, byte_tokenizer(258, CONTROL), [256, 257])


def test_problems() -> None:
    assert tried('start: /(?s:.*)/ <[257]> "x"') is None
    assert tried('start: %json {"type": "string", "minLength": 3, "maxLength": 2}') == (
        "Unsatisfiable schema: minLength (3) is greater than maxLength (2)"
    )
    assert tried("start: X\nX: /a+/ & /b+/")
    assert tried("start: (") is not None


@pytest.mark.anyio
async def test_a_process_is_started_before_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    check = GrammarCheck(CONTROL, 258, deadline_s=5)
    try:
        await check.start()
        monkeypatch.delattr(asyncio, "create_subprocess_exec")
        await check.admit(Grammar('start: "x"'), param="p")
    finally:
        await check.aclose()


@pytest.mark.anyio
async def test_what_takes_too_long_is_refused_and_the_next_is_not() -> None:
    check = GrammarCheck(CONTROL, 258, deadline_s=0.75, n_processes=1)
    try:
        with pytest.raises(InvalidSchema, match="too much time"):
            await check.admit(SLOW, param="p")
        await check.admit(Grammar('start: "x"'), param="p")
        with pytest.raises(InvalidSchema, match="at #: Unsatisfiable") as refusal:
            await check.admit(Grammar('start: %json {"enum": []}'), param="tools")
        assert refusal.value.param == "tools"
    finally:
        await check.aclose()


@pytest.mark.anyio
async def test_those_who_wait_are_told_to_come_back() -> None:
    check = GrammarCheck(CONTROL, 258, deadline_s=5, wait_s=0.01, n_processes=1)
    slow = asyncio.create_task(check.admit(SLOW, param="p"))
    try:
        await asyncio.sleep(0)
        with pytest.raises(EngineOverloaded):
            await check.admit(Grammar('start: "x"'), param="p")
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        await check.admit(Grammar('start: "y"'), param="p")
    finally:
        await check.aclose()
