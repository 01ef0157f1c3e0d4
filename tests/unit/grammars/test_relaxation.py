from dataclasses import replace

import pytest
from tests.strategies import tool

from tessera.core.chat import ChatRequest, JsonSchema
from tessera.core.generation import Grammar
from tessera.errors import InvalidSchema
from tessera.formats.hermes import HERMES
from tessera.grammars.relaxation import usable_grammar
from tessera.schemas.keywords import LEVELS

SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "string", "pattern": "^x$"}, "b": {"type": "integer", "minimum": 3}},
    "patternProperties": {"^q": {"type": "null"}},
    "additionalProperties": False,
}
REQUEST = ChatRequest((), answer_format=JsonSchema("x", SCHEMA))


class Refusing:
    """Refuses every grammar that contains one of some words."""

    def __init__(self, *words: str) -> None:
        self._words = words
        self.seen: list[str] = []

    def __call__(self, grammar: Grammar) -> str | None:
        self.seen.append(grammar.lark)
        return next((f"no {word}" for word in self._words if f'"{word}"' in grammar.lark), None)


def lark(request: ChatRequest, attempt: Refusing) -> str:
    grammar = usable_grammar(request, HERMES.syntax, {}, attempt)
    assert grammar is not None
    return grammar.lark


def test_what_is_taken_at_once_is_tried_once() -> None:
    attempt = Refusing()
    assert '"pattern"' in lark(REQUEST, attempt)
    assert len(attempt.seen) == 1


def test_a_rung_leaves_out_what_cannot_be_held_and_keeps_the_rest() -> None:
    written = lark(REQUEST, Refusing("pattern"))
    assert '"pattern"' not in written
    assert '"minimum"' in written


def test_names_that_a_pattern_allowed_are_not_excluded_without_it() -> None:
    assert '"additionalProperties": false' in lark(REQUEST, Refusing())
    assert '"additionalProperties"' not in lark(REQUEST, Refusing("patternProperties"))


def test_the_last_rung_is_any_json_of_the_type() -> None:
    everything = {name for level in LEVELS for name in level}
    written = lark(REQUEST, Refusing(*everything))
    assert '%json {"type": "object", "x-guidance"' in written


def test_a_strict_schema_is_not_relaxed() -> None:
    strict = replace(REQUEST, answer_format=JsonSchema("x", SCHEMA, strict=True))
    with pytest.raises(InvalidSchema, match="at #: no pattern"):
        usable_grammar(strict, HERMES.syntax, {}, Refusing("pattern"))


def test_tools_that_only_fail_together_go_down_together() -> None:
    tools = tuple(tool(name, SCHEMA) for name in ("one", "two", "three"))

    def attempt(grammar: Grammar) -> str | None:
        return "too many" if grammar.lark.count('"pattern"') > 2 else None

    grammar = usable_grammar(ChatRequest((), tools=tools), HERMES.syntax, {}, attempt)
    assert grammar is not None
    assert '"pattern"' not in grammar.lark
    strict = tuple(replace(each, strict=True) for each in tools)
    with pytest.raises(InvalidSchema, match="too many") as refusal:
        usable_grammar(ChatRequest((), tools=strict), HERMES.syntax, {}, attempt)
    assert refusal.value.param == "tools"
