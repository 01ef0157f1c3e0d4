"""Values of every mixture of types, in calls whose parameters are raw text.

A value that fits its schema is written as a replayed call shows it: the grammar admits that text, the parser
reads it as the value, and it is replayed as it was written. Whatever text a grammar admits is read as a value
that fits.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tests.conformance.schemas.conftest import Vocabulary

from tessera.core.chat import ChatRequest, Tool, ToolChoice, UserMessage
from tessera.core.events import ToolCallDelta
from tessera.core.generation import TokenChunk
from tessera.core.record import Tally
from tessera.formats.base import Plain
from tessera.formats.qwen3 import QWEN3, conversation
from tessera.grammars.turn import build_grammar
from tessera.parsing.reader import ReplyReader
from tessera.schemas.validation import Validator
from tessera.wire.decode import decode_request

END = "\n</parameter>\n"
DEFINITIONS = {
    "word": {"type": "string", "pattern": "^[a-z]{1,4}$"},
    "any": {"anyOf": [{"$ref": "#/$defs/text"}]},
}
DEFINITIONS |= {"text": {"type": "string"}, "n": {"type": "integer", "minimum": 10}}
STRINGS: list[dict[str, Any]] = [
    {"type": "string"},
    {"$ref": "#/$defs/any"},
    {"type": "string", "enum": ["light", "dark", "null", "5", '"x"', "[1]"]},
    {"const": "true"},
    {"type": "string", "maxLength": 5},
    {"type": "string", "minLength": 3},
    {"$ref": "#/$defs/word"},
    {"type": "string", "pattern": r"^\d+(px|%)?$"},
    {"type": "string", "pattern": '^".*"$', "minLength": 3},
    {"type": "string", "format": "date"},
    {"type": "string", "format": "uuid"},
    {"allOf": [{"type": "string"}, {"minLength": 2}, {"maxLength": 4}]},
]
OTHERS: list[dict[str, Any]] = [
    {"type": "null"},
    {"type": "boolean"},
    {"type": "integer"},
    {"$ref": "#/$defs/n"},
    {"type": "number"},
    {"type": "number", "minimum": -2.5, "exclusiveMaximum": 7},
    {"type": "integer", "multipleOf": 3},
    {"enum": [1, None, "a", "b c", {"k": [1]}]},
    {"const": 50},
    {"type": "array"},
    {"type": "array", "items": {"type": "string"}},
    {"type": "array", "items": {"anyOf": [{"type": "integer"}, {"type": "null"}]}, "maxItems": 2},
    {"type": "array", "prefixItems": [{"type": "boolean"}], "minItems": 1},
    {"type": "object"},
    {"type": "object", "properties": {"k": {"$ref": "#/$defs/word"}}, "required": ["k"]},
    {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1},
    {},
]
VALUES: list[Any] = [
    "", "a", "dark", "light", "word", "12px", "5", "-3", "12", "1.5", "null", "true", "2024-02-29",
    '"x"', '"a b"', '"', "b c", "abc\ndef", "\nab", "ab\n", " ab ", " 12", "1e2", "007", "[1]",
    "[note]", "[1] x", '["a', '["a"]', "{x}", "{", '{"k": "ab"}', '{"k',
    "123e4567-e89b-12d3-a456-426614174000", "</parameter>", "a</function>b", "ñ👩‍💻", "null\nx", None,
    True, False, 0, 1, 5, 9, 10, 12, 50, -3, 1.5, -2.5, 10**6, [], ["a"], ["a", "b"], [1], [1, None],
    [True], [True, "x"], [[1]], [{}], {}, {"k": "ab"}, {"k": "abcde"}, {"z": 3}, {"k": [1]},
    {"a": {"b": '"\n'}},
]  # fmt: skip


def lost(others: Validator, value: Any) -> bool:
    """Whether a string of the value cannot be told from another value that fits too."""
    if not isinstance(value, str):
        return False
    ends_early = (value + END).index(END) < len(value) or re.search(r"\n<parameter=|</parameter>\s*<", value)
    if ends_early or value.startswith("<parameter="):
        return True
    if others.validate(value) is None:  # JSON of another type, which the text is read as
        return True
    # It begins as JSON of another type that has rules of its own.
    first_line = value.split("\n")[0] + "\n" if "\n" in value else ""
    return bool(re.match(r'\{["}]|\[[\]"\[{0-9tfn-]', value) or re.match(r"-?[0-9][0-9.eE+-]*\n", first_line))


def tool(schema: Any) -> Tool:
    return Tool(
        "f", {"type": "object", "properties": {"v": schema}, "required": ["v"], "$defs": DEFINITIONS}, {}
    )


class Calls:
    """The calls of one tool: what the grammar admits, what the parser reads, what is replayed."""

    def __init__(self, vocabulary: Vocabulary, called: Tool) -> None:
        self.vocabulary, self.control = vocabulary, vocabulary.tokenizer.control_tokens
        self.chat = ChatRequest((UserMessage("x"),), tools=(called,), tool_choice=ToolChoice("required"),
                                parallel_tool_calls=False)  # fmt: skip
        grammar = build_grammar(self.chat, QWEN3.syntax, self.control)
        assert grammar is not None
        self.lark = grammar.lark

    def replayed(self, arguments: dict[str, Any]) -> str:
        """The text between the tags after a client has sent the call back."""
        sent = {"name": "f", "arguments": json.dumps(arguments)}
        turn = {"role": "assistant", "tool_calls": [{"id": "x", "type": "function", "function": sent}]}
        body = {"messages": [{"role": "user", "content": "x"}, turn]}
        history, _ = decode_request(json.dumps(body).encode())
        return next(
            each.text for each in conversation(history) if isinstance(each, Plain) and "<f" in each.text
        )

    def ids(self, text: str) -> list[int]:
        return [
            self.control["<tool_call>"],
            *self.vocabulary.tokenizer.encode(text),
            self.control["</tool_call>"],
        ]

    def admits(self, text: str) -> bool:
        return self.vocabulary.accepts(self.lark, self.ids(text))

    def arguments(self, ids: Sequence[int]) -> str:
        reader = ReplyReader(self.chat, QWEN3.syntax, self.vocabulary.tokenizer, Tally(), lambda: "id")
        events = reader.feed(TokenChunk(0, (*ids, self.vocabulary.end_id), finish="stop"))
        return "".join(event.arguments for event in events if isinstance(event, ToolCallDelta))

    def read(self, ids: Sequence[int]) -> dict[str, Any]:
        return json.loads(self.arguments(ids))


def check_value(calls: Calls, schema: Any, value: Any) -> None:
    written = calls.replayed({"v": value})
    assert calls.admits(written), (schema, value)
    read = calls.read(calls.ids(written))
    assert json.dumps(read) == json.dumps({"v": value}), (schema, value)
    assert calls.replayed(read) == written


def mixtures(draw: Any) -> dict[str, Any]:
    parts = [draw(st.sampled_from(STRINGS)), *draw(st.lists(st.sampled_from(STRINGS + OTHERS), max_size=3))]
    union: dict[str, Any] = {"anyOf": draw(st.permutations(parts))}
    if len(parts) == 1:
        union = parts[0]
    if draw(st.booleans()):
        union = {"allOf": [union, {"description": "x"}]}
    if draw(st.integers(0, 4)) == 0:
        union = {**union, "maxLength": draw(st.integers(1, 20))}
    return union


def check_mixture(vocabulary: Vocabulary, data: st.DataObject) -> None:
    schema = mixtures(data.draw)
    calls = Calls(vocabulary, tool(schema))
    fits = Validator({**schema, "$defs": DEFINITIONS})
    others = Validator({**schema, "$defs": DEFINITIONS, "not": {"type": "string"}})
    for value in [*VALUES, *data.draw(st.lists(st.text(max_size=8), max_size=4))]:
        if fits.validate(json.dumps(value)) is None and not lost(others, value):
            check_value(calls, schema, value)


ALL_CHECKS: list[Any] = [*HealthCheck]
QUICK = settings(max_examples=40, suppress_health_check=ALL_CHECKS)
LONG = settings(max_examples=1_500, suppress_health_check=ALL_CHECKS)


@QUICK
@given(st.data())
def test_what_fits_is_written_read_and_replayed(vocabulary: Vocabulary, data: st.DataObject) -> None:
    check_mixture(vocabulary, data)


@pytest.mark.full
@LONG
@given(st.data())
def test_what_fits_is_written_read_and_replayed_in_full(vocabulary: Vocabulary, data: st.DataObject) -> None:
    check_mixture(vocabulary, data)


def check_walk(vocabulary: Vocabulary, data: st.DataObject) -> None:
    schema, seed = mixtures(data.draw), data.draw(st.integers(0, 10**6))
    called = tool(schema)
    calls = Calls(vocabulary, called)
    validator = Validator(called.parameters)
    assume(any(validator.validate(json.dumps({"v": value})) is None for value in VALUES))
    ids = vocabulary.walk(calls.lark, seed, steps=300)
    assume(ids is not None)
    assert ids is not None
    arguments = calls.arguments(ids)
    # As it is written: Python takes a number such as 1e999 for an infinity.
    assert validator.validate(arguments) is None, (schema, bytes(ids[1:-1]))
    read: dict[str, Any] = json.loads(arguments)
    if isinstance(read["v"], str | bool | None):
        assert calls.ids(calls.replayed(read)) == ids, (schema, bytes(ids[1:-1]))


@QUICK
@given(st.data())
def test_what_is_admitted_fits(vocabulary: Vocabulary, data: st.DataObject) -> None:
    check_walk(vocabulary, data)


@pytest.mark.full
@LONG
@given(st.data())
def test_what_is_admitted_fits_in_full(vocabulary: Vocabulary, data: st.DataObject) -> None:
    check_walk(vocabulary, data)


def test_a_whole_call_is_replayed_as_it_was_written(vocabulary: Vocabulary) -> None:
    """Named parameters in their order, then others."""
    properties = {
        "b": {"type": ["string", "null"]},
        "a": {"enum": ["x", True]},
        "c": OTHERS[8],
        "d": STRINGS[4],
    }
    schema = {
        "properties": properties,
        "required": ["a"],
        "additionalProperties": {"type": ["string", "boolean"]},
    }
    calls, n_whole = Calls(vocabulary, Tool("f", schema, {})), 0
    for seed in range(40):
        if (ids := vocabulary.walk(calls.lark, seed, steps=600)) is not None:
            n_whole += 1
            read = calls.read(ids)
            assert Validator(schema).validate(json.dumps(read)) is None
            assert calls.ids(calls.replayed(read)) == ids
    assert n_whole >= 10


def test_other_parameters_are_written_read_and_replayed(vocabulary: Vocabulary) -> None:
    named = {"patternProperties": {"^n_": {"type": "integer"}}, "additionalProperties": {"type": "string"}}
    calls = Calls(vocabulary, Tool("f", {"properties": {"v": {"type": "boolean"}}, **named}, {}))
    for arguments in (
        {"x": "5"},
        {"v": True, "n_1": 5, "b c": "", "a": "true"},
        {"ñ.[0]/$": "v"},
        {"V": '"q"'},
    ):
        written = calls.replayed(arguments)
        assert calls.admits(written), written
        assert calls.read(calls.ids(written)) == arguments
        assert calls.replayed(calls.read(calls.ids(written))) == written
