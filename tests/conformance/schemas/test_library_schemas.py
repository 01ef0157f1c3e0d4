"""What schema libraries and tool servers send is never refused without strict, and can be written."""

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.conformance.schemas.conftest import Vocabulary
from tests.families import HARMONY, JSON, XML, Family
from tests.library_schemas import every_leaf, maker
from tests.strategies import tool

from tessera.core.chat import AssistantMessage, ChatRequest, JsonSchema, ToolCall, ToolChoice, UserMessage
from tessera.core.generation import Grammar
from tessera.errors import InvalidSchema
from tessera.formats.base import Control
from tessera.grammars.relaxation import usable_grammar
from tessera.grammars.trial import Trial
from tessera.grammars.turn import build_grammar
from tessera.schemas.check import check_schema
from tessera.schemas.validation import Validator

CONTROL = {"<|im_end|>": 256, "<tool_call>": 257, "</tool_call>": 258, "<think>": 259, "</think>": 260}
WAYS = ["json_schema", "JSON", "XML"]


@pytest.fixture(scope="module")
def trial() -> Trial:
    return Trial(261, CONTROL)


def is_taken(way: str, schema: Any, values: list[Any], trial: Trial, vocabulary: Vocabulary) -> None:
    """Checks that the grammar can be used and admits the values."""
    if way == "json_schema":
        request = ChatRequest((), answer_format=JsonSchema("s", schema))
        holds = held_as_answer
    else:
        request = ChatRequest((), tools=(tool("f", schema),), tool_choice=ToolChoice("required"))
        holds = held_as_call
    family = XML if way == "XML" else JSON
    grammar = build_grammar(request, family.format.syntax, CONTROL)
    assert grammar is not None
    assert trial.problem(grammar.lark) is None
    validator = Validator(schema)
    for value in values:
        assert validator.validate(json.dumps(value)) is None, value
        holds(family, request, grammar, value, vocabulary)


def held_as_answer(_: Family, __: ChatRequest, grammar: Grammar, value: Any, vocabulary: Vocabulary) -> None:
    text = json.dumps(value, ensure_ascii=False)
    assert vocabulary.accepts(grammar.lark, list(text.encode())), text


def held_as_call(
    family: Family, request: ChatRequest, grammar: Grammar, value: Any, vocabulary: Vocabulary
) -> None:
    """Checks that a call with these arguments can be written, is read correctly, and is replayed as it was
    written.
    """
    written = replayed(family, json.dumps(value, ensure_ascii=False))
    ids = [id for part in written for id in ([CONTROL[part]] if part in CONTROL else [*part.encode()])]
    assert vocabulary.accepts(grammar.lark, ids), written
    (read,) = family.read(written, request).tool_calls
    assert json.loads(read.arguments) == value
    assert replayed(family, read.arguments) == written


def replayed(family: Family, arguments: str) -> list[str]:
    """The parts of a call in the history; tags are parts of their own."""
    history = AssistantMessage("", None, (ToolCall("c", "f", arguments),))
    segments = family.format.render(ChatRequest((UserMessage("x"), history)))
    text = "".join(each.token if isinstance(each, Control) else each.text for each in segments)
    call = text[text.index("<tool_call>") :].split("</tool_call>")[0]
    return ["<tool_call>", call.removeprefix("<tool_call>"), "</tool_call>"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("leaf", "values"), every_leaf(), ids=str)
def test_every_leaf(way: str, leaf: Any, values: list[Any], trial: Trial, vocabulary: Vocabulary) -> None:
    for schema in (leaf, {"anyOf": [leaf, {"type": "null"}]}, {"type": "array", "items": leaf}):
        wrapped = [
            [value] if schema.get("type") == "array" and schema is not leaf else value for value in values
        ]
        whole = {"type": "object", "properties": {"v": schema}, "required": ["v"]}
        arguments = [{"v": value} for value in wrapped]
        is_taken(way, whole, arguments, trial, vocabulary)


def having(name: str) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"type": "integer"}}, "required": [name]}


BASE = {"$ref": "#/$defs/base"}
OWN = {"type": "object", "properties": {"own": {"type": "string"}}, "required": ["own"]}
DEFS = {"$defs": {"base": having("base"), "child": {"allOf": [BASE, OWN]}}}
# The arguments in the order of the schema: what is inherited comes where it is written.
INHERITING = [
    ({"allOf": [BASE, OWN]}, ["base", "own"]),
    ({"allOf": [OWN, BASE]}, ["own", "base"]),
    ({"allOf": [BASE, having("between")], **OWN}, ["base", "between", "own"]),
    ({**OWN, "allOf": [BASE, having("after")]}, ["own", "base", "after"]),
    ({**BASE, **OWN}, ["base", "own"]),
    ({**OWN, **BASE}, ["own", "base"]),
    ({"oneOf": [{"$ref": "#/$defs/child"}]}, ["base", "own"]),
    (
        {"allOf": [{"$ref": "#/$defs/child"}], "properties": {"more": {"type": "integer"}}},
        ["base", "own", "more"],
    ),
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("schema", "names"), INHERITING, ids=str)
def test_inherited_properties_come_where_they_are_written(
    way: str, schema: Any, names: list[str], trial: Trial, vocabulary: Vocabulary
) -> None:
    arguments = {name: "x" if name == "own" else 5 for name in names}
    is_taken(way, {**schema, **DEFS}, [arguments], trial, vocabulary)


CONDITIONAL = [
    (
        {"properties": {"kind": {"enum": ["a", "b"]}}, "required": ["kind"]}
        | {
            "if": {"properties": {"kind": {"const": "a"}}},
            "then": {"properties": {"n": {"type": "integer"}, "code": {"type": "string"}}, "required": ["n"]},
            "else": {"properties": {"other": {"type": "array"}}, "required": ["other"]},
        },
        [{"kind": "a", "n": 5, "code": "007"}, {"kind": "b", "other": [1]}],
    ),
    (
        {"properties": {"card": {"type": "string"}}}
        | {"dependentSchemas": {"card": {"properties": {"zip": {"type": "string"}}, "required": ["zip"]}}},
        [{}, {"card": "1", "zip": "01234"}],
    ),
    (
        {"allOf": [{"if": {"required": ["a"]}, "then": {"$ref": "#/$defs/more"}}]}
        | {"properties": {"a": {"type": "boolean"}}, "$defs": {"more": having("b")}},
        [{}, {"a": True, "b": 5}],
    ),
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("schema", "values"), CONDITIONAL, ids=str)
def test_properties_that_a_condition_names_can_be_written(
    way: str, schema: Any, values: list[Any], trial: Trial, vocabulary: Vocabulary
) -> None:
    is_taken(way, {"type": "object", **schema}, values, trial, vocabulary)


# Formats of zod, with a value that its pattern takes.
ZOD_FORMATS = [
    ({"format": "time", "pattern": r"^(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d+)?)?$"}, "10:30"),
    ({"format": "date", "pattern": r"^\d{4}-\d{2}-\d{2}$"}, "2024-02-29"),
]


@pytest.mark.parametrize("way", WAYS)
def test_a_constant_fits_the_pattern_or_format_beside_it(way: str, vocabulary: Vocabulary) -> None:
    values = ["2024-01-01", "none", "2024-02-30"]
    schema: Any = {"properties": {"v": {"enum": values, "format": "date"}}, "required": ["v"]}
    assert admitted(way, schema, values, vocabulary) == ["2024-01-01"]
    schema["properties"]["v"] = {"enum": values, "allOf": [{"pattern": "^(?:[0-9]+-)+[0-9]+$"}]}
    assert admitted(way, schema, values, vocabulary) == ["2024-01-01", "2024-02-30"]


def admitted(way: str, schema: Any, values: list[Any], vocabulary: Vocabulary) -> list[Any]:
    """The values of `v` that can be written."""
    family = XML if way == "XML" else JSON
    request = ChatRequest(
        (), tools=(replace(tool("f", schema), strict=True),), tool_choice=ToolChoice("required")
    )
    if way == "json_schema":
        request = ChatRequest((), answer_format=JsonSchema("s", schema, strict=True))
    grammar = build_grammar(request, family.format.syntax, CONTROL)
    assert grammar is not None
    found: list[Any] = []
    for value in values:
        text = json.dumps({"v": value})
        written = [text] if way == "json_schema" else replayed(family, text)
        ids = [id for part in written for id in ([CONTROL[part]] if part in CONTROL else [*part.encode()])]
        found += [value] if vocabulary.accepts(grammar.lark, ids) else []
    return found


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("texts", "value"), ZOD_FORMATS, ids=str)
def test_a_format_does_not_contradict_the_pattern_of_its_library(
    way: str, texts: Any, value: str, trial: Trial, vocabulary: Vocabulary
) -> None:
    schema = {"type": "object", "properties": {"v": {"type": "string", **texts}}, "required": ["v"]}
    is_taken(way, schema, [{"v": value}], trial, vocabulary)
    named = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    is_taken(way, named, [{"v": value}], trial, vocabulary)


NOTHING_FITS: list[dict[str, Any]] = [
    {"type": "string"},
    {"type": ["array", "null"]},
    {"not": {}},
    {"enum": ["a"]},
    {"anyOf": [{"type": "string"}, {"type": "integer"}]},
    {"$ref": "#/$defs/text", "$defs": {"text": {"type": "string"}}},
    {"type": "object", "properties": {"a": False}, "required": ["a"]},
]


@pytest.mark.parametrize("family", [JSON, XML, HARMONY], ids=lambda family: family.id)
@pytest.mark.parametrize("schema", NOTHING_FITS, ids=str)
def test_a_tool_that_no_arguments_fit_does_not_block_the_others(schema: Any, family: Family) -> None:
    control = {token: 256 + i for i, token in enumerate(sorted(family.control))}
    trial = Trial(256 + len(control), control)
    request = ChatRequest((), tools=(tool("none", schema), tool("f", having("a"))))
    tried = usable_grammar(request, family.format.syntax, control, lambda each: trial.problem(each.lark))
    assert tried is not None
    assert trial.problem(tried.lark) is None
    assert '{"a": {"type": "integer"}}' in tried.lark or "<parameter=a>" in tried.lark


@pytest.mark.parametrize(
    "schema", [False, {"not": {}}, {"enum": []}, {"type": "string", "enum": [1]}], ids=str
)
def test_an_answer_that_nothing_fits_can_be_written_and_is_left_to_the_validation(
    schema: Any, trial: Trial
) -> None:
    request = ChatRequest((), answer_format=JsonSchema("s", schema))
    tried = usable_grammar(request, JSON.format.syntax, CONTROL, lambda each: trial.problem(each.lark))
    assert tried is not None
    assert trial.problem(tried.lark) is None


def walk(way: str, seeds: range, trial: Trial, vocabulary: Vocabulary) -> None:
    for seed in seeds:
        schema, value = maker(seed).tool()
        is_taken(way, schema, [value], trial, vocabulary)


@pytest.mark.parametrize("way", WAYS)
def test_generated(way: str, trial: Trial, vocabulary: Vocabulary) -> None:
    walk(way, range(60), trial, vocabulary)


@pytest.mark.full
@pytest.mark.parametrize("way", WAYS)
def test_many_generated(way: str, trial: Trial, vocabulary: Vocabulary) -> None:
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
