"""What schema libraries and tool servers send is never refused without strict, and can be written."""

import json
from typing import Any

import pytest
from tests.library_schemas import every_leaf, maker
from tests.strategies import tool

from tessera.core.chat import ChatRequest, JsonSchema, Tool
from tessera.errors import InvalidSchema
from tessera.formats.hermes import HERMES
from tessera.formats.qwen3 import QWEN3
from tessera.prompt.grammar import build_grammar
from tessera.prompt.schema import check_schema
from tessera.prompt.validation import Validator
from tessera.text.grammar_trial import Trial

CONTROL = {"<|im_end|>": 256, "<tool_call>": 257, "</tool_call>": 258, "<think>": 259, "</think>": 260}
WAYS = {
    "json_schema": HERMES.syntax,
    "JSON": HERMES.syntax,
    "XML": QWEN3.syntax,
}


@pytest.fixture(scope="module")
def trial() -> Trial:
    return Trial(261, CONTROL)


def request(way: str, schema: Any) -> ChatRequest:
    if way == "json_schema":
        return ChatRequest((), answer_format=JsonSchema("s", schema))
    return ChatRequest((), tools=(Tool("f", schema, tool("f", schema).definition),))


def is_taken_and_holds(way: str, schema: Any, values: list[Any], trial: Trial, vocabulary: Any) -> None:
    grammar = build_grammar(request(way, schema), WAYS[way], CONTROL)
    assert grammar is not None
    assert trial.problem(grammar.lark) is None
    if way == "json_schema":
        for value in values:
            text = json.dumps(value, ensure_ascii=False)
            assert Validator(schema).validate(text) is None, text
            assert vocabulary.accepts(grammar.lark, list(text.encode())), text


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("leaf", "values"), every_leaf(), ids=str)
def test_every_leaf(way: str, leaf: Any, values: list[Any], trial: Trial, vocabulary: Any) -> None:
    for schema in (leaf, {"anyOf": [leaf, {"type": "null"}]}, {"type": "array", "items": leaf}):
        wrapped = [
            [value] if schema.get("type") == "array" and schema is not leaf else value for value in values
        ]
        whole = {"type": "object", "properties": {"v": schema}, "required": ["v"]}
        arguments = [{"v": value} for value in wrapped]
        is_taken_and_holds(way, whole, arguments, trial, vocabulary)


def walk(way: str, seeds: range, trial: Trial, vocabulary: Any) -> None:
    for seed in seeds:
        schema, value = maker(seed).tool()
        is_taken_and_holds(way, schema, [value], trial, vocabulary)


@pytest.mark.parametrize("way", WAYS)
def test_generated(way: str, trial: Trial, vocabulary: Any) -> None:
    walk(way, range(60), trial, vocabulary)


@pytest.mark.full
@pytest.mark.parametrize("way", WAYS)
def test_many_generated(way: str, trial: Trial, vocabulary: Any) -> None:
    walk(way, range(60, 3_000), trial, vocabulary)


def test_most_of_them_are_enforced_at_once() -> None:
    """The generator draws what is meant: few schemas hold something that is only relaxed."""
    relaxed = 0
    for seed in range(200):
        try:
            check_schema(maker(seed).tool()[0], strict=True, param="p")
        except InvalidSchema:
            relaxed += 1
    assert 0 < relaxed < 160
