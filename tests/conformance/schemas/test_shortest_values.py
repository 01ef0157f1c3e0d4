import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher

from tessera.engine.scripted.shortest import ShortestReplies
from tessera.engine.scripted.words import words_of
from tessera.errors import GenerationFailed
from tessera.grammars.bytewise import ByteTokenizer
from tessera.grammars.lark import json_value
from tessera.grammars.llg import LIMITS, llg_tokenizer
from tessera.schemas.check import check_schema
from tessera.schemas.string_formats import FORMATS
from tessera.schemas.validation import Validator

CONTROL = {"<|im_end|>": 256, "<tool_call>": 257}
REPLIES = ShortestReplies(CONTROL, 258)
LLG = llg_tokenizer(ByteTokenizer(258, CONTROL), [min(CONTROL.values())])


def lark_of(schema: Any) -> str:
    document = check_schema(schema, strict=True, param="schema")
    return f"start: {json_value(document.standing_alone(document.root))}\n"


def reply(lark: str, begun: str = "", *, whole: bool = True) -> str:
    """The part of `begun` that is played, and what follows it."""
    parts = [[id] for id in REPLIES.tokenizer.encode(begun)]
    n_fitting, rest = REPLIES.complete(lark, parts, whole=whole)
    return begun[:n_fitting] + b"".join(map(REPLIES.tokenizer.token_bytes, rest)).decode()


def shorter(lark: str, n_bytes: int) -> list[int] | None:
    """A reply of fewer bytes, if the grammar allows one: everything that the masks allow is tried."""
    first = LLMatcher(LLG, LLMatcher.grammar_from_lark(lark), log_level=0, limits=LIMITS)
    level: list[tuple[list[int], LLMatcher]] = [([], first)]
    for _ in range(n_bytes):
        if complete := [ids for ids, matcher in level if matcher.is_accepting()]:
            return complete[0]
        longer: list[tuple[list[int], LLMatcher]] = []
        for ids, matcher in level:
            mask = matcher.compute_bitmask()
            for id in range(256):
                if mask[id // 8] >> id % 8 & 1:
                    copy = matcher.deep_copy()
                    assert copy.consume_token(id)
                    longer.append(([*ids, id], copy))
        level = longer
        assert len(level) < 100_000, "too much to try"
    return None


def obj(**properties: Any) -> dict[str, Any]:
    required = [*properties]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


SMALL: list[Any] = [
    True,
    {"type": "string"},
    {"type": ["object", "array"]},
    {"type": "integer", "minimum": 100, "multipleOf": 7},
    {"type": "integer", "minimum": -99, "maximum": -12},
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    {"type": "number", "minimum": 1.25, "maximum": 1.5},
    {"type": "string", "pattern": "^(?:ax{5}|bx)$"},
    {"type": "string", "pattern": "^(?:a[xy]{5}|bb[xy])$"},
    {"type": "string", "pattern": "^[ab]{2,}c$"},
    {"type": "string", "pattern": "^é[xé]$"},
    {"enum": ["abbbbbbb", "bc", "babbbbbbbb"]},
    {"enum": [[[[]]], {"a": 1}, "abcd", 12345, None]},
    {"type": "array", "items": {"enum": ["q", "rr"]}, "minItems": 2},
    {"type": "array", "prefixItems": [{"type": "null"}, {"type": "boolean"}], "minItems": 2},
    {"anyOf": [obj(a={"type": "null"}), {"type": "boolean"}]},
    {"type": "object", "additionalProperties": False, "properties": {"a": {"type": "null"}}},
]


@pytest.mark.parametrize("schema", SMALL, ids=str)
def test_no_shorter_reply_exists(schema: Any) -> None:
    found = reply(lark_of(schema))
    assert Validator(schema).validate(found) is None
    assert shorter(lark_of(schema), len(found.encode())) is None


@dataclass(frozen=True)
class Case:
    id: str
    schema: Any
    example: str
    """One of the shortest."""


TREE = {
    "$defs": {
        "node": {
            "anyOf": [
                obj(
                    kind={"const": "branch"},
                    children={"type": "array", "items": {"$ref": "#/$defs/node"}, "minItems": 2},
                ),
                obj(kind={"const": "leaf"}),
            ]
        }
    },
    **obj(tree={"$ref": "#/$defs/node"}),
}
CASES = [
    Case("minLength", {"type": "string", "minLength": 300}, f'"{"a" * 300}"'),
    Case("very long", {"type": "array", "items": {"type": "string", "minLength": 1500}, "minItems": 2},
         json.dumps(["a" * 1500] * 2)),
    Case("lengths", {"type": "string", "minLength": 30, "maxLength": 30}, f'"{"a" * 30}"'),
    Case("ends with", {"type": "string", "pattern": r"^.*\.csv$"}, '".csv"'),
    Case("a word after letters", {"type": "string", "pattern": "^[a-z]+ing$"}, '"aing"'),
    Case("some words", {"type": "string", "pattern": "^.*foo.*bar.*baz$"}, '"foobarbaz"'),
    Case("long enough, then a word", {"type": "string", "pattern": r"^.{20,}\.csv$"}, f'"{"a" * 20}.csv"'),
    Case("anywhere", {"type": "string", "pattern": "(a{9}|bc)x"}, '"bcx"'),
    Case("arn", {"type": "string", "pattern": "^arn:aws:.*:function:.*$"}, '"arn:aws::function:"'),
    Case("colour", {"type": "string", "pattern": "^#[0-9a-fA-F]{6}$"}, '"#000000"'),
    Case("uuid", {"type": "string", "format": "uuid"}, f'"{"0" * 8}-0000-0000-0000-{"0" * 12}"'),
    Case("date-time", {"type": "string", "format": "date-time"}, '"2000-01-01T00:00:00Z"'),
    Case("many constants", {"enum": [f"{chr(97 + i % 26)}_{10 ** (i % 9)}" for i in range(200)]}, '"a_1"'),
    Case(
        "all at once",
        obj(
            a={"enum": ["alpha", "beta", "ga"]},
            b={"enum": ["one", "two", "three", "x"]},
            c={"enum": ["very long", "shrt"]},
            d={"type": "string", "minLength": 4},
            e={"type": "integer", "minimum": 12345},
        ),
        '{"a": "ga", "b": "x", "c": "shrt", "d": "aaaa", "e": 12345}',
    ),
    Case(
        "a hundred strings",
        obj(**{f"p{i}": {"type": "string", "minLength": 1} for i in range(100)}),
        json.dumps({f"p{i}": "a" for i in range(100)}),
    ),
    Case("a tree", TREE, '{"tree": {"kind": "leaf"}}'),
    Case(
        "a list",
        obj(value={"type": "integer"}, next={"anyOf": [{"$ref": "#"}, {"type": "null"}]}),
        '{"value": 0, "next": null}',
    ),
    Case("nullable", {"anyOf": [obj(a={"type": "string", "minLength": 9}), {"type": "null"}]}, "null"),
    Case("oneOf", {"oneOf": [obj(k={"const": "a"}), obj(k={"const": "bcd"}, l={"const": 1})]}, '{"k": "a"}'),
    Case("allOf", {"allOf": [{"type": "integer", "minimum": 10}, {"maximum": 99999}]}, "10"),
    Case(
        "records",
        {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1},
        '{"": 0}',
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_reply_is_as_short_as_the_example(case: Case) -> None:
    assert Validator(case.schema).validate(case.example) is None
    found = reply(lark_of(case.schema))
    assert Validator(case.schema).validate(found) is None, found
    assert len(found.encode()) == len(case.example), found


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_a_reply(name: str) -> None:
    schema = {"type": "string", "format": name}
    assert Validator(schema).validate(reply(lark_of(schema))) is None


_KEYS = ("a", "key", "a longer key")
_STRINGS = st.text("ab", max_size=9)
_LEAVES = st.one_of(
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.builds(lambda values: {"enum": values}, st.lists(_STRINGS, min_size=1, max_size=5, unique=True)),
    st.builds(lambda n: {"type": "string", "minLength": n}, st.integers(0, 12)),
    st.builds(lambda low, n: {"type": "integer", "minimum": low, "maximum": low + n},
              st.integers(-2000, 2000), st.integers(0, 2000)),
)  # fmt: skip
_SCHEMAS = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.builds(
            lambda items, n: {"type": "array", "items": items, "minItems": n}, inner, st.integers(0, 3)
        ),
        st.builds(lambda properties: obj(**properties), st.dictionaries(st.sampled_from(_KEYS), inner)),
        st.builds(lambda *branches: {"anyOf": [*branches]}, inner, inner),
    ),
    max_leaves=4,
)  # fmt: skip


def length(schema: Any) -> int:
    """The length of the shortest value."""
    if branches := schema.get("anyOf"):
        return min(map(length, branches))
    if "enum" in schema:
        return min(len(json.dumps(value)) for value in schema["enum"])
    match schema["type"]:
        case "boolean" | "null":
            return 4
        case "string":
            return 2 + schema["minLength"]
        case "integer":
            return min(len(str(n)) for n in range(schema["minimum"], schema["maximum"] + 1))
        case "array":
            n = schema["minItems"]
            return 2 + n * length(schema["items"]) + 2 * max(n - 1, 0)
        case _:
            members = [len(f'"{name}": ') + length(each) for name, each in schema["properties"].items()]
            return 2 + sum(members) + 2 * max(len(members) - 1, 0)


@given(_SCHEMAS)
@settings(max_examples=25, phases=[Phase.generate], derandomize=True)
def test_what_is_put_together_is_hardly_longer_than_its_parts(schema: Any) -> None:
    """Look-alikes that are not alike, such as strings of different branches, may cost a few bytes."""
    found, shortest = reply(lark_of(schema)), length(schema)
    assert Validator(schema).validate(found) is None
    assert shortest <= len(found) <= shortest + max(2, shortest // 10), found


def test_the_same_grammar_gives_the_same_reply() -> None:
    lark = lark_of(TREE)
    assert ShortestReplies(CONTROL, 258).complete(lark, [], whole=True) == REPLIES.complete(
        lark, [], whole=True
    )


@pytest.mark.parametrize(
    ("script", "whole", "expected"),
    [
        ("hm", True, "hm</think>{}"),
        ("hm</think>", True, "hm</think>{}"),
        ("hm</think>no", True, "hm</think>{}"),
        ("hm</think>{}", True, "hm</think>{}"),
        ("hm</thi", False, "hm</thi"),
        ("", True, "</think>{}"),
    ],
)
def test_a_script_is_played_as_far_as_it_fits(script: str, whole: bool, expected: str) -> None:
    lark = 'start: text "{" "}"\ntext[suffix="</think>"]: /(?s:.*)/\n'
    assert reply(lark, script, whole=whole) == expected


def test_control_tokens_are_part_of_replies() -> None:
    n_fitting, rest = REPLIES.complete('start: /a*/ <[257]> ("bcd" | "e")\n', [], whole=True)
    assert (n_fitting, rest) == (0, [257, ord("e")])


@pytest.mark.parametrize("lark", ["start: b\n", 'start: a\na: "a" a\n', 'start: /a/ & /b/ "x"\n'])
def test_a_grammar_without_replies_fails_in_bounded_time(lark: str) -> None:
    with pytest.raises(GenerationFailed):
        reply(lark)


def words(pattern: str) -> Sequence[str]:
    return words_of(f"TEXT_X1: /{pattern}/ & ~/x/\nvalue[suffix=\"\\n</p>\\n\"]: TEXT_X1\n")  # fmt: skip


def test_words_are_what_ends_texts_and_what_patterns_spell() -> None:
    assert [*itertools.islice(words(r"(?:[^\n]*\u{2e}csv|foo{2,}\/bar)"), 4)] == [
        "\n</p>\n",
        ".csv",
        "foo",
        "/bar",
    ]
