"""What grammars cost, counted at length in calls of functions: see `tests/unit/schemas/test_work.py`."""

from typing import Any

import pytest
from tests.unit.schemas.test_work import (
    CALLS_OF_A_STEP,
    LINEAR,
    SQUARE,
    STEPS,
    TEXT,
    admit,
    n_calls,
    numbered,
    record,
)

from tessera.core.chat import ChatRequest, Tool
from tessera.errors import InvalidSchema
from tessera.formats.hermes import HERMES
from tessera.formats.qwen3 import QWEN3
from tessera.grammars import relaxation
from tessera.grammars.relaxation import usable_grammar
from tessera.schemas.work import CHARACTERS_PER_STEP


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("syntax", [QWEN3.syntax, HERMES.syntax], ids=["xml", "json"])
def test_what_a_grammar_costs_grows_as_its_schema_does(name: str, syntax: Any) -> None:
    few, many = (n_calls(lambda n=n: admit(LINEAR[name](n), syntax=syntax)) for n in (50, 200))
    assert many < 5.5 * few
    assert len(admit(LINEAR[name](200), syntax=syntax).lark) < 300_000


def test_tools_cost_what_each_of_them_does() -> None:
    schema = record(properties=numbered(20, lambda _: {"type": ["string", "null"]}))
    few, many = (n_calls(lambda n=n: admit(*[schema] * n)) for n in (8, 32))
    assert many < 5 * few


@pytest.mark.parametrize("name", SQUARE)
def test_what_would_cost_too_much_is_relaxed_by_a_count(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    schema = SQUARE[name](200)
    monkeypatch.setattr(relaxation, "MOST_STEPS", STEPS)
    assert n_calls(lambda: admit(schema)) < 3 * STEPS * CALLS_OF_A_STEP
    assert len(admit(schema).lark) < 3 * STEPS * CHARACTERS_PER_STEP


def test_what_would_cost_too_much_is_refused_if_it_is_strict() -> None:
    schema = SQUARE["items of a whole chain"](1_500)
    with pytest.raises(InvalidSchema, match="too much time or memory"):
        admit(schema, strict=True)
    assert admit(schema) == admit(schema)


def test_what_one_tool_costs_leaves_a_strict_one_its_grammar() -> None:
    dear = Tool("dear", SQUARE["items of a whole chain"](1_500), {})
    strict = Tool("strict", record(properties={"a": {**TEXT, "pattern": "^kept$"}}), {}, strict=True)
    for tools in ((dear, strict), (strict, dear)):
        grammar = usable_grammar(ChatRequest((), tools=tools), QWEN3.syntax, {}, lambda _: None)
        assert grammar is not None
        assert "kept" in grammar.lark
