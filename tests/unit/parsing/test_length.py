"""Where the length cuts a reply whose grammar allows only a call, no part of the call is content."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.families import ASKED, FAMILIES, LEON, LEON_JSON, TAGS, WEATHER, Family
from tests.folding import fold

from tessera.core.chat import AnyJsonObject, JsonSchema, Mode, ToolChoice
from tessera.core.events import FinishReason
from tessera.core.generation import TokenChunk
from tessera.core.record import Tally
from tessera.engine.scripted.engine import ScriptedTokenizer
from tessera.parsing.reader import ReplyReader

ONLY_CALLS: dict[str, dict[str, Any]] = {
    "required": {"tool_choice": ToolChoice("required")},
    "allowed": {"tool_choice": ToolChoice("required", frozenset({WEATHER.name}))},
    "named": {"tool_choice": ToolChoice("required", frozenset({WEATHER.name}), named=True)},
    "one": {"tool_choice": ToolChoice("required"), "parallel_tool_calls": False},
    "or an object": {"answer_format": AnyJsonObject()},
    "or JSON": {"answer_format": JsonSchema("x", {"type": "array"})},
}
every_family = pytest.mark.parametrize("family", FAMILIES, ids=[family.id for family in FAMILIES])


def call_of(family: Family) -> str:
    return f"<tool_call>{LEON if 'xml' in family.id else chr(10) + LEON_JSON + chr(10)}</tool_call>"


def cuts(family: Family, text: str) -> list[list[str]]:
    """Every prefix of the text, as parts in which control tokens are whole."""
    parts: list[str] = []
    while text:
        tag = next((tag for tag in TAGS if tag in family.control and text.startswith(tag)), text[0])
        parts.append(tag)
        text = text.removeprefix(tag)
    return [parts[:n] for n in range(len(parts) + 1)]


@pytest.mark.slow
@every_family
@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("asked", ONLY_CALLS.values(), ids=ONLY_CALLS)
def test_no_part_of_a_call_is_content_where_only_calls_may_be(
    family: Family, asked: dict[str, Any], mode: Mode
) -> None:
    request = replace(ASKED, mode=mode, **asked)
    before = "Hm.\n</think>\n\n" if mode is Mode.THINKING else ""
    calls = call_of(family) if request.one_call else f"{call_of(family)}\n{call_of(family)}"
    for parts in cuts(family, before + calls):
        choice = family.read(parts, request, "length")
        assert choice.text is None, parts
        assert choice.finish_reason is FinishReason.LENGTH


@every_family
def test_no_part_of_a_call_is_content_once_its_tag_is_whole(family: Family) -> None:
    half_tags = 0
    for parts in cuts(family, f"Voy.\n\n{call_of(family)}\n{call_of(family)}"):
        choice = family.read(parts, ASKED, "length")
        if choice.text and len(choice.text) > len("Voy.\n\n"):
            half_tags += 1
            assert "<tool_call>".startswith(choice.text.removeprefix("Voy.\n\n"))
        else:
            assert "Voy.\n\n".startswith(choice.text or "")
    # Where the first tag is spelled, half of it may have been text.
    assert half_tags == (0 if "<tool_call>" in family.control else len("<tool_call>") - 1)


@every_family
def test_half_a_tag_within_a_json_answer_is_content(family: Family) -> None:
    request = replace(ASKED, answer_format=AnyJsonObject())
    text = f'{{"a": "{call_of(replace(family, control=frozenset())).encode("unicode_escape").decode()}"}}'
    parts = [*text]
    for n in range(1, len(parts) + 1):
        assert family.read(parts[:n], request, "length").text == text[:n]


TOKENIZER = ScriptedTokenizer(control=["<|im_end|>"])


def test_every_choice_is_cut_by_itself() -> None:
    request = replace(ASKED, tool_choice=ToolChoice("required"), n=2)
    reader = ReplyReader(request, FAMILIES[1].format.syntax, TOKENIZER, Tally())

    def chunk(choice: int, text: str) -> Sequence[Any]:
        return reader.feed(TokenChunk(choice, tuple(TOKENIZER.encode(text)), "length"))

    events = [*chunk(1, "<tool_call"), *chunk(0, "<tool_call>\n<function=get_"), *reader.complete()]
    assert [choice.text for choice in fold(events).choices] == [None, None]
