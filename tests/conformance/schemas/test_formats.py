"""Formats and patterns in every place where they reach a grammar: the parameters of both call formats, and
the reply that is JSON.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.conformance.schemas.conftest import Vocabulary
from tests.format_values import ANNOTATIONS, DRAFTS, FORMAT_VALUES

from tessera.core.chat import ChatRequest, JsonSchema, Tool, ToolChoice
from tessera.errors import InvalidSchema
from tessera.formats.hermes import HERMES
from tessera.grammars.lark import expression, literal, quoted
from tessera.grammars.turn import build_grammar
from tessera.parsing.syntax import Syntax, Tags
from tessera.schemas.check import check_schema
from tessera.schemas.string_formats import FORMATS, VALIDATED

XML = Syntax(("<|im_end|>",), Tags("<think>", "</think>"), Tags("<tool_call>", "</tool_call>"), "xml")
PLACES = ["json", "xml", "answer"]
# Each with texts that it matches and texts that it does not.
PATTERNS: list[tuple[str, list[str], list[str]]] = [
    ("^/$", ["/"], ["", "//", "\\/"]),
    (r"^\/$", ["/"], ["\\/", "\\"]),
    (r"^\\/$", ["\\/"], ["/", "\\\\/"]),
    (r"^\\\/$", ["\\/"], ["/"]),
    (r"^\\\\/\/$", ["\\\\//"], ["\\//"]),
    ("^[/]$", ["/"], ["\\", "a"]),
    (r"^[\/]$", ["/"], ["\\"]),
    (r"^[\\/]$", ["/", "\\"], ["a"]),
    ("^[^/]$", ["a", "\\", '"'], ["/"]),
    ("^[!-/]$", ["/", "!", '"'], ["0"]),
    (r"^https?://[^\s/$.?#].[^\s]*$", ["http://a/b", "https://é/"], ["http:///a", "http:/a"]),
    (r"^/(?:[^/]+/)*[^/]*$", ["/", "/a/b", "/a/"], ["a/b"]),
    (r"^\d{1,2}/\d{1,2}/\d{4}$", ["1/12/2024"], ["1-12-2024"]),
    ("^//#$", ["//#"], ["/#"]),
    ("^/i$", ["/i"], ["i", "/I"]),
    ("^$", [""], ["a", "/"]),
    ('^"/"$', ['"/"'], ["/"]),
    (r"^a\n/$", ["a\n/"], ["a/"]),
    ("^a\n/$", ["a\n/"], ["a/"]),
    ("^a\\\n$", ["a\n"], ["a"]),
    (r"^\x2f\u002f$", ["//"], ["/"]),
    (r"^ # %json / <\[1\]>$", [" # %json / <[1]>"], ["#"]),
]

Admits = Callable[[str], bool]


@pytest.fixture(scope="module")
def grammar_of(vocabulary: Vocabulary) -> Callable[[str, Any, bool], Admits]:
    """For a schema of strings in one of `PLACES`: a function that says whether the grammar admits a text."""

    def follow(place: str, schema: Any, strict: bool = True) -> Admits:
        grammar = build_grammar(
            asked(place, schema, strict), syntax(place), vocabulary.tokenizer.control_tokens
        )
        assert grammar is not None
        matcher = vocabulary.follow(grammar.lark)

        def admits(text: str) -> bool:
            ids = spelled(place, text)
            assert matcher.reset()
            return matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()

        return admits

    return follow


def syntax(place: str) -> Syntax:
    return XML if place == "xml" else HERMES.syntax


def asked(place: str, schema: Any, strict: bool) -> ChatRequest:
    whole = {"type": "object", "properties": {"v": schema}, "required": ["v"], "additionalProperties": False}
    if place == "answer":
        return ChatRequest((), answer_format=JsonSchema("x", whole, strict=strict))
    return ChatRequest((), tools=(Tool("f", whole, {}, strict=strict),), tool_choice=ToolChoice("required"))


def spelled(place: str, text: str) -> list[int]:
    value = json.dumps(text, ensure_ascii=False)
    if place == "answer":
        return [*f'{{"v": {value}}}'.encode()]
    if place == "json":
        return [257, *f'\n{{"name": "f", "arguments": {{"v": {value}}}}}\n'.encode(), 258]
    return [257, *f"\n<function=f>\n<parameter=v>\n{text}\n</parameter>\n</function>\n".encode(), 258]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", FORMATS)
def test_formats_are_enforced_everywhere(name: str, place: str, grammar_of: Any) -> None:
    values = FORMAT_VALUES[name]
    admits = grammar_of(place, {"type": "string", "format": name})
    assert [text for text in values.good if not admits(text)] == []
    assert [text for text in (*values.bad, *values.unwritten) if admits(text)] == []


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("pattern", "good", "bad"), PATTERNS)
def test_patterns_are_enforced_everywhere(
    pattern: str, good: list[str], bad: list[str], place: str, grammar_of: Any
) -> None:
    admits = grammar_of(place, {"type": "string", "pattern": pattern})
    assert [text for text in good if not admits(text)] == []
    assert [text for text in bad if admits(text)] == []


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("draft", DRAFTS)
def test_formats_are_enforced_in_every_draft(draft: str, place: str, grammar_of: Any) -> None:
    schema = {"$schema": DRAFTS[draft]} if DRAFTS[draft] else {}
    for name in ("uuid", "duration", "iri", "json-pointer", "uri-template"):
        tool = {"allOf": [{"type": "string", "format": name}], **schema}
        assert not grammar_of(place, tool)(FORMAT_VALUES[name].bad[0]), name


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ANNOTATIONS)
def test_formats_that_json_schema_does_not_define_are_no_rule(name: str, place: str, grammar_of: Any) -> None:
    for kind in ("string", "integer", "number"):
        grammar_of(place, {"type": kind, "format": name})
    assert grammar_of(place, {"type": "string", "format": name})("anything / at all")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", sorted(VALIDATED))
def test_a_format_that_is_only_validated_needs_no_strict(name: str, place: str, grammar_of: Any) -> None:
    schema = {"type": "string", "format": name}
    assert grammar_of(place, schema, False)("(")
    with pytest.raises(InvalidSchema, match=f"/format: `format`: {name} is only validated"):
        check_schema(schema, strict=True, param="schema")


@pytest.mark.parametrize("name", FORMATS)
def test_formats_leave_what_is_no_string_alone(
    name: str, vocabulary: Vocabulary, json_lark: Callable[..., str]
) -> None:
    good, bad = (json.dumps(texts[0]) for texts in (FORMAT_VALUES[name].good, ["\\ \n"]))
    cases: list[tuple[dict[str, Any], list[str], list[str]]] = [
        ({"type": ["string", "null"]}, [good, "null"], [bad, "1"]),
        ({}, [good, "null", "1.5", "[]", "{}", "true"], [bad]),
        ({"type": "integer"}, ["1"], [good, bad]),
        ({"type": ["integer", "string"]}, ["1", good], [bad, "null"]),
    ]
    for schema, admitted, refused in cases:
        lark = json_lark({**schema, "format": name}, True)
        assert all(vocabulary.accepts(lark, list(text.encode())) for text in admitted), schema
        assert not any(vocabulary.accepts(lark, list(text.encode())) for text in refused), schema


@pytest.mark.parametrize("text", ["", "a/b", "//", *(f"a{chr(i)}b" for i in range(1, 0x80)), "é/\u2028😀"])
def test_texts_are_quoted_for_lark(text: str, vocabulary: Vocabulary) -> None:
    for terminal in (expression(f"(?:{quoted(text)})"), expression(quoted(text)), literal(text)):
        lark = f'start: "<" A ">"\nA: {terminal}\n'
        assert vocabulary.accepts(lark, [*f"<{text}>".encode()]), terminal
        assert not vocabulary.accepts(lark, [*f"<{text}x>".encode()])
