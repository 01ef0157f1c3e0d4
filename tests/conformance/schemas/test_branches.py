"""Calls that are written parameter by parameter, of schemas that are unions: what a branch allows can be
written, and is read as what it was.
"""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conformance.schemas.conftest import Vocabulary
from tests.strategies import examples

from tessera.core.chat import ChatRequest, Tool, ToolChoice
from tessera.core.events import ToolCallDelta
from tessera.core.generation import TokenChunk
from tessera.core.record import Tally
from tessera.grammars.turn import build_grammar
from tessera.parsing.reader import ReplyReader
from tessera.parsing.syntax import Syntax, Tags

XML = Syntax(("<|im_end|>",), Tags("<think>", "</think>"), Tags("<tool_call>", "</tool_call>"), "xml")
KINDS: list[tuple[dict[str, Any], Any]] = [
    ({"type": "string"}, "some text"),
    ({"type": "string", "pattern": "^[0-9]{2}%$"}, "12%"),
    ({"type": "integer"}, 7),
    ({"const": "a"}, "a"),
    ({"const": "b"}, "b"),
    ({"type": "boolean"}, True),
    ({"type": "array", "items": {"type": "integer"}}, [1, 2]),
    ({"type": ["null", "object"]}, {"k": None}),
]
_members = st.dictionaries(st.sampled_from("abc"), st.sampled_from(KINDS), min_size=1, max_size=3)


@pytest.mark.parametrize("keyword", ["anyOf", "oneOf"])
@examples(30)
@given(st.lists(_members, min_size=1, max_size=3), st.booleans())
def test_what_a_branch_allows_can_be_written(
    vocabulary: Vocabulary, keyword: str, branches: list[dict[str, Any]], within: bool
) -> None:
    union = {
        keyword: [
            {"properties": {name: kind for name, (kind, _) in branch.items()}, "required": [*branch]}
            for branch in branches
        ]
    }
    schema: Any = {"type": "object", **({"allOf": [union]} if within else union)}
    chat = ChatRequest((), tools=(Tool("f", schema, {}),), tool_choice=ToolChoice("required"))
    grammar = build_grammar(chat, XML, vocabulary.tokenizer.control_tokens)
    assert grammar is not None
    for branch in branches:
        wanted = {name: value for name, (_, value) in sorted(branch.items())}
        order = [*dict.fromkeys(name for each in branches for name in each)]
        ids = call(vocabulary, {name: wanted[name] for name in order if name in wanted})
        assert vocabulary.accepts(grammar.lark, ids)
        assert arguments(chat, vocabulary, ids) == wanted


def call(vocabulary: Vocabulary, wanted: dict[str, Any]) -> list[int]:
    """The tokens of a call, as a replayed conversation has them."""
    written = "".join(
        f"<parameter={name}>\n{value if isinstance(value, str) else json.dumps(value)}\n</parameter>\n"
        for name, value in wanted.items()
    )
    control = vocabulary.tokenizer.control_tokens
    text = f"\n<function=f>\n{written}</function>\n"
    return [control["<tool_call>"], *vocabulary.tokenizer.encode(text), control["</tool_call>"]]


def arguments(chat: ChatRequest, vocabulary: Vocabulary, ids: list[int]) -> dict[str, Any]:
    reader = ReplyReader(chat, XML, vocabulary.tokenizer, Tally(), new_call_id=lambda: "id")
    events = reader.feed(TokenChunk(0, (*ids, vocabulary.end_id), finish="stop"))
    return json.loads("".join(event.arguments for event in events if isinstance(event, ToolCallDelta)))


def test_what_a_value_is_may_depend_on_those_before_it(vocabulary: Vocabulary) -> None:
    text = {"type": "string", "maxLength": 4}
    kinds = {"text": text, "number": {"type": "integer"}, "flag": {"type": "boolean"}}
    branches = [
        {"properties": {"kind": {"const": name}, "value": kind}, "required": ["kind", "value"]}
        for name, kind in kinds.items()
    ]
    schema: Any = {"type": "object", "anyOf": branches}
    chat = ChatRequest((), tools=(Tool("f", schema, {}),), tool_choice=ToolChoice("required"))
    grammar = build_grammar(chat, XML, vocabulary.tokenizer.control_tokens)
    assert grammar is not None
    for kind, value in (("text", "12"), ("number", 12), ("text", "true"), ("flag", True)):
        ids = call(vocabulary, {"kind": kind, "value": value})
        assert vocabulary.accepts(grammar.lark, ids)
        assert arguments(chat, vocabulary, ids) == {"kind": kind, "value": value}
