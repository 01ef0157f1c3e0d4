"""Calls of Gemma 4: strings in quotes of their own, bare names, JSON; however they are cut."""

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.families import ASKED, Family, recut
from tests.template_families import GEMMA4_FAMILIES

from tessera.core.chat import Json, Mode
from tessera.core.events import FinishReason
from tessera.core.generation import EngineFinish

every_family = pytest.mark.parametrize("family", GEMMA4_FAMILIES, ids=lambda family: family.id)
OPEN, CLOSE, QUOTE = "<|tool_call>", "<tool_call|>", '<|"|>'


def parts(family: Family, text: str) -> list[str]:
    """The parts of the text; tags that are control tokens are parts of their own."""
    tags = "|".join(map(re.escape, family.control))
    return [part for part in re.split(f"({tags})", text) if part]


def call(arguments: str, name: str = "get_weather") -> str:
    return f"{OPEN}call:{name}{{{arguments}}}{CLOSE}"


CASES = {
    "": "{}",
    f"city:{QUOTE}León{QUOTE}": '{"city": "León"}',
    f"city:{QUOTE}{QUOTE},days:2": '{"city": "", "days": 2}',
    f'city:{QUOTE}a "b"\\\n}},x:{QUOTE},days:-1.5e3': '{"city": "a \\"b\\"\\\\\\n},x:", "days": -1.5e3}',
    'a:["x", {"y": [true, null]}],b:{}': '{"a": ["x", {"y": [true, null]}], "b": {}}',
    f"a:[{QUOTE}x{QUOTE},{QUOTE}}}{QUOTE}],b:{{c:{QUOTE}]{QUOTE},d:false}}": (
        '{"a": ["x", "}"], "b": {"c": "]", "d": false}}'
    ),
    'a:{"k\\"": "v\\\\"},b:1': '{"a": {"k\\"": "v\\\\"}, "b": 1}',
    f"{QUOTE}two words{QUOTE}:1, next :2": '{"two words": 1, "next": 2}',
    f"a:1,a:{QUOTE}again{QUOTE},b:[2]": '{"a": 1, "b": [2]}',
    f"city:{QUOTE}{OPEN}call:x{CLOSE}{QUOTE}": '{"city": "<|tool_call>call:x<tool_call|>"}',
}


@every_family
@pytest.mark.parametrize("written", CASES, ids=str)
@pytest.mark.parametrize("longest", [1, 3, 10**6])
def test_arguments_become_json(family: Family, written: str, longest: int) -> None:
    text = f"So.\n{call(written)}{call('', 'get_time')}"
    pieces = recut(family.pieces(parts(family, text)), longest)
    choice = family.read_pieces([[piece] for piece in pieces], ASKED, "stop")
    assert choice.text == "So."
    assert [(each.name, each.arguments) for each in choice.tool_calls] == [
        ("get_weather", CASES[written]),
        ("get_time", "{}"),
    ]
    assert choice.finish_reason is FinishReason.TOOL_CALLS


@every_family
@pytest.mark.parametrize("written", CASES, ids=str)
def test_a_call_that_the_limit_cuts_is_the_beginning_of_the_whole_one(family: Family, written: str) -> None:
    whole = parts(family, call(written))
    for i, part in enumerate(whole):
        for n in [len(part)] if part in family.control else range(1, len(part) + 1):
            choice = family.read([*whole[:i], part[:n]], ASKED, "length")
            for each in choice.tool_calls:
                assert CASES[written].startswith(each.arguments)


@every_family
@pytest.mark.parametrize(
    ("written", "arguments"),
    [
        (f"city:{QUOTE}Le", '{"city": "Le"}'),
        ('a:[1,{"b":[2', '{"a": [1, {"b": [2]}]}'),
        ("a:1,a:[", '{"a": 1}'),
    ],
)
def test_a_call_without_an_end_is_closed(family: Family, written: str, arguments: str) -> None:
    choice = family.read(parts(family, f"{OPEN}call:get_weather{{{written}"), ASKED, "stop")
    assert choice.tool_calls[0].arguments == arguments


@every_family
def test_a_tag_outside_of_strings_ends_the_call(family: Family) -> None:
    choice = family.read(parts(family, f"{OPEN}call:get_weather{{days:[1{CLOSE}Done."), ASKED, "stop")
    assert (choice.tool_calls[0].arguments, choice.text) == ('{"days": [1]}', "Done.")


@every_family
@pytest.mark.parametrize(
    "text", [f"{OPEN}call:unknown{{}}{CLOSE}", f"{OPEN}get_time{{}}{CLOSE}", "call:get_time{}"]
)
def test_what_is_no_call_is_text(family: Family, text: str) -> None:
    choice = family.read(parts(family, text), ASKED, "stop")
    assert (choice.text, choice.tool_calls) == (text, ())


@every_family
def test_reasoning_ends_with_its_tag(family: Family) -> None:
    asked = replace(ASKED, mode=Mode.THINKING)
    choice = family.read(parts(family, f"Hm.\n<channel|>Hi.{call('')}"), asked, "stop")
    assert (choice.reasoning, choice.text, len(choice.tool_calls)) == ("Hm.", "Hi.", 1)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
names = st.text("abcXYZ_09-.", min_size=1, max_size=5)
finishes: st.SearchStrategy[EngineFinish] = st.sampled_from(["stop", "length"])


@given(st.dictionaries(names, values, max_size=4), st.integers(1, 9), st.sampled_from(GEMMA4_FAMILIES))
def test_any_arguments_are_read_as_they_were_written(
    arguments: dict[str, Json], longest: int, family: Family
) -> None:
    written = ",".join(
        f"{name}:{QUOTE}{value}{QUOTE}" if isinstance(value, str) else f"{name}:{json.dumps(value)}"
        for name, value in arguments.items()
    )
    pieces = recut(family.pieces(parts(family, call(written))), longest)
    choice = family.read_pieces([[piece] for piece in pieces], ASKED, "stop")
    assert json.loads(choice.tool_calls[0].arguments) == arguments
    assert choice.text is None


@given(
    st.lists(
        st.sampled_from([OPEN, CLOSE, QUOTE, "call:get_time{", "{", "}", "[", "]", ",", ":", '"', "\\", "a"])
    ),
    finishes,
    st.sampled_from(GEMMA4_FAMILIES),
)
def test_any_output_is_read(written: list[str], finish: EngineFinish, family: Family) -> None:
    text = "".join(written)
    choice = family.read(parts(family, text), ASKED, finish)
    again = family.read_pieces(
        [[each] for each in recut(family.pieces(parts(family, text)), 1)], ASKED, finish
    )
    assert choice == again
