"""Whatever a grammar allows, the parser reads and the schema accepts: random replies, drawn from masks."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from tests.conformance.schemas.conftest import Vocabulary
from tests.folding import fold

from tessera.core.chat import AnyJsonObject, ChatRequest, FreeText, JsonSchema, Mode, Tool, ToolChoice
from tessera.core.events import (
    Finished,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from tessera.core.generation import EngineFinish, TokenChunk
from tessera.core.record import Tally
from tessera.core.result import Choice
from tessera.formats.hermes import HERMES
from tessera.grammars.turn import build_grammar
from tessera.parsing.reader import ReplyReader
from tessera.parsing.syntax import Syntax, Tags
from tessera.schemas.string_formats import FORMATS
from tessera.schemas.validation import Validator

XML = Syntax(("<|im_end|>",), Tags("<think>", "</think>"), Tags("<tool_call>", "</tool_call>"), "xml")

SCHEMAS: list[Any] = [
    True,
    {"type": "number"},
    {"type": "integer", "minimum": -17, "exclusiveMaximum": 1234, "multipleOf": 3},
    {"type": "number", "minimum": -0.5, "exclusiveMaximum": 2.25},
    {"type": "number", "exclusiveMinimum": 0},
    {"type": "number", "multipleOf": 0.05, "maximum": 3},
    {"type": "string", "minLength": 2, "maxLength": 5},
    *({"type": "string", "format": name} for name in FORMATS),
    *(
        {"type": "string", "pattern": pattern}
        for pattern in (
            r"^\S+@\S+\.\S+$",
            r"a|^b+$",
            r"^[^\s\d]{2,4}$",
            r"^\W\D[\s\S]?$",
            r"^(x|[À-ÿ]){1,3}$",
            r"^.{2}x?$",
        )
    ),
    {"type": "array", "items": {"enum": ["a", 1, None, {"x": [1.5]}]}, "minItems": 1, "maxItems": 4},
    {"type": "array", "prefixItems": [{"type": "null"}, {"type": "string"}], "items": {"type": "boolean"}},
    {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}, "required": ["b"]},
    {"type": "object", "additionalProperties": {"type": "integer"}, "maxProperties": 2, "minProperties": 1},
    {
        "type": "object",
        "patternProperties": {"^x": {"type": "integer"}},
        "additionalProperties": {"type": "null"},
    },
    {
        "type": "object",
        "properties": {"n": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
        "required": ["n"],
        "additionalProperties": False,
    },
    {
        "oneOf": [
            {
                "type": "object",
                "properties": {"k": {"const": "a"}, "v": {"type": "integer"}},
                "required": ["k"],
            },
            {"type": "string"},
        ]
    },
    {
        "allOf": [
            {"type": "object", "properties": {"a": {"minimum": 2}}},
            {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
        ]
    },
]

TOOLS = [
    Tool("now", {}, {}),
    Tool("nothing", {"type": "object", "properties": {}}, {}, strict=True),
    Tool(
        "order",
        {
            "type": "object",
            "properties": {
                "free": {"type": "string"},
                "short": {"type": "string", "maxLength": 3},
                "kind": {"type": "string", "enum": ["a", "b c", "null", ""]},
                "slug": {"$ref": "#/$defs/slug"},
                "day": {"type": "string", "format": "date"},
                "n": {"type": "integer", "minimum": 1, "maximum": 40},
                "maybe": {"type": ["string", "null"]},
                "choice": {"anyOf": [{"enum": ["x", "1"]}, {"type": "null"}, {"type": "boolean"}]},
                "mixed": {"anyOf": [{"type": "string", "maxLength": 2}, {"type": "integer"}]},
                "either": {"anyOf": [{"const": "only"}, {"type": "string", "pattern": "^[0-9]{2}$"}]},
                "items": {"type": "array", "items": {"$ref": "#/$defs/slug"}, "maxItems": 2},
                "any": {},
            },
            "required": ["n", "free", "unlisted"],
            "$defs": {"slug": {"type": "string", "pattern": "^[a-z]{1,4}$"}},
        },
        {},
    ),
    Tool(
        "joined",
        {
            "allOf": [{"$ref": "#/$defs/a"}, {"properties": {"q": {"type": "boolean"}}}],
            "$defs": {"a": {"type": "object", "properties": {"p": {"type": "number"}}, "required": ["p"]}},
        },
        {},
    ),
    Tool(
        "record",
        {
            "properties": {"n": {"type": "integer"}},
            "patternProperties": {"^[a-f]{1,9}$": {"type": ["null", "boolean"]}},
            "additionalProperties": {"anyOf": [{"type": "string", "maxLength": 9}, {"type": "number"}]},
        },
        {},
    ),
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
def test_json(schema: Any, vocabulary: Vocabulary, json_lark: Callable[..., str]) -> None:
    lark, validator, n_whole = json_lark(schema, True), Validator(schema), 0
    for seed in range(40):
        ids = vocabulary.walk(lark, seed)
        if ids is not None:
            n_whole += 1
            assert validator.validate(bytes(ids).decode()) is None, bytes(ids).decode()
    assert n_whole >= 10


REQUESTS: dict[str, dict[str, Any]] = {
    "auto": {},
    "one call at most": {"parallel_tool_calls": False},
    "required": {"tool_choice": ToolChoice("required")},
    "named": {"tool_choice": ToolChoice("required", frozenset({"order"}), named=True)},
    "allowed": {"tool_choice": ToolChoice("auto", frozenset({"order", "joined"}))},
    "none": {"tool_choice": ToolChoice("none")},
    "thinking": {"mode": Mode.THINKING},
    "or an object": {"answer_format": AnyJsonObject()},
    "thinking, or JSON": {"mode": Mode.THINKING, "answer_format": JsonSchema("x", {"type": "array"})},
    "required, thinking": {"tool_choice": ToolChoice("required"), "mode": Mode.THINKING},
}


@pytest.mark.parametrize("asked", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize("syntax", [XML, HERMES.syntax], ids=["xml", "json"])
@pytest.mark.parametrize("tags", ["vocabulary", "spelled"])
def test_turns(tags: str, syntax: Syntax, asked: dict[str, Any], request: pytest.FixtureRequest) -> None:
    words = request.getfixturevalue(tags)
    chat = ChatRequest((), tools=tuple(TOOLS), **asked)
    grammar = build_grammar(chat, syntax, words.tokenizer.control_tokens)
    assert grammar is not None
    n_whole = 0
    for seed in range(12):
        ids = words.walk(grammar.lark, seed, steps=2_000)
        if ids is not None:
            n_whole += 1
            check_reply(chat, syntax, words.tokenizer, [*ids, words.end_id])
    assert n_whole >= 6


def check_reply(chat: ChatRequest, syntax: Syntax, tokenizer: Any, ids: Sequence[int]) -> None:
    reader = ReplyReader(chat, syntax, tokenizer, Tally(), new_call_id=lambda: "id")
    events = reader.feed(TokenChunk(0, tuple(ids), finish="stop"))
    parameters = {tool.name: Validator(tool.parameters) for tool in chat.tools}
    names = [event.name for event in events if isinstance(event, ToolCallStarted)]
    for call, name in enumerate(names):
        arguments = "".join(e.arguments for e in events if isinstance(e, ToolCallDelta) and e.call == call)
        assert parameters[name].validate(arguments) is None, (name, arguments)
    choice = chat.tool_choice
    assert {*names} <= (choice.names or {tool.name for tool in chat.tools})
    assert len(names) <= 1 or not chat.one_call
    assert names or choice.mode != "required"
    assert not names or choice.mode != "none"
    end = events[-1]
    assert isinstance(end, Finished)
    assert end.reason is (FinishReason.TOOL_CALLS if names and not choice.named else FinishReason.STOP)
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    assert chat.mode is Mode.THINKING or not any(isinstance(event, ReasoningDelta) for event in events)
    if not names and not isinstance(form := chat.answer_format, FreeText):
        schema = form.schema if isinstance(form, JsonSchema) else {"type": "object"}
        assert Validator(schema).validate(text) is None, text
    assert not names or choice.mode != "required" or not text


@pytest.mark.parametrize("asked", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize("syntax", [XML, HERMES.syntax], ids=["xml", "json"])
@pytest.mark.parametrize("tags", ["vocabulary", "spelled"])
def test_turns_that_the_length_cuts(
    tags: str, syntax: Syntax, asked: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    """A cut reply is the beginning of the whole one. Only where a tag is spelled and text may stand in its
    place, half of the tag is content.
    """
    words = request.getfixturevalue(tags)
    chat = ChatRequest((), tools=tuple(TOOLS), **asked)
    grammar = build_grammar(chat, syntax, words.tokenizer.control_tokens)
    assert grammar is not None
    may_be_text = isinstance(chat.answer_format, FreeText) and chat.tool_choice.mode == "auto"
    for seed in range(4):
        ids = words.walk(grammar.lark, seed, steps=1_000) or ()
        whole = read(chat, syntax, words.tokenizer, ids, "stop")
        for n in {
            *range(min(40, len(ids))),
            *range(0, len(ids), 11),
            *range(max(0, len(ids) - 20), len(ids)),
        }:
            cut = read(chat, syntax, words.tokenizer, ids[:n], "length")
            text, reasoning = cut.text or "", without_half("</think>", cut.reasoning or "")
            if may_be_text and tags == "spelled" and whole.tool_calls:
                text = without_half("<tool_call>", text)
            assert (whole.text or "").startswith(text.rstrip() if whole.tool_calls else text)
            assert (whole.reasoning or "").startswith(reasoning.removesuffix("\n"))
            assert len(cut.tool_calls) <= len(whole.tool_calls)
            assert "\ufffd" not in repr(cut) or "\ufffd" in repr(whole)


def without_half(tag: str, text: str) -> str:
    """The text without a beginning of the tag at its end."""
    return next((text[:-n] for n in range(len(tag) - 1, 0, -1) if text.endswith(tag[:n])), text)


def read(
    chat: ChatRequest, syntax: Syntax, tokenizer: Any, ids: Sequence[int], finish: EngineFinish
) -> Choice:
    reader = ReplyReader(chat, syntax, tokenizer, Tally(), new_call_id=lambda: "id")
    events = reader.feed(TokenChunk(0, tuple(ids), finish))
    return fold([*events, *reader.complete()]).choices[0]


def test_the_tokens_of_qwen(qwen: Any) -> None:
    """A call in the tokens the model itself would use, and the mask where the last one is wrong."""
    chat = ChatRequest((), tools=tuple(TOOLS), mode=Mode.THINKING)
    control = qwen.tokenizer.control_tokens
    grammar = build_grammar(chat, XML, control)
    assert grammar is not None
    value = (
        "<parameter=free>\nLeón 👩‍💻\n</parameter>\n<parameter=n>\n{}\n</parameter>\n<parameter=unlisted>\nx"
    )
    for n, allowed in (("40", True), ("41", False)):
        call = f"\n<function=order>\n{value.format(n)}\n</parameter>\n</function>\n"
        encode = qwen.tokenizer.encode
        ids = [*encode("Pienso.\n"), control["</think>"], *encode("\n\n"), control["<tool_call>"]]
        ids += [*encode(call), control["</tool_call>"]]
        assert qwen.accepts(grammar.lark, ids) is allowed


def test_structure_is_forced_in_the_tokens_of_qwen(qwen: Any, json_lark: Callable[..., str]) -> None:
    schema = {"type": "object", "properties": {"name": {"enum": ["x"]}, "n": {"type": "null"}}}
    lark = json_lark({**schema, "required": ["name", "n"], "additionalProperties": False}, True)
    matcher = qwen.follow(lark)
    forced = matcher.compute_ff_tokens()
    assert b"".join(map(qwen.tokenizer.token_bytes, forced)).startswith(b'{"name": "x", "n": nul')
