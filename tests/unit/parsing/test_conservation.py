"""Nothing of an output is lost, in any state and at any cut: `tests/conservation.py` says what that means."""

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conservation import is_accounted_for
from tests.families import ASKED, FAMILIES, TIME, WEATHER, Family, recut
from tests.strategies import MARKUP, tool

from tessera.core.chat import AnyJsonObject, ChatRequest, Mode, ToolChoice
from tessera.core.generation import EngineFinish, TokenLogprob
from tessera.text.pieces import TextPiece

NOTE = tool("note", {"properties": {"title": {"type": "string"}, "body": {}}})
REQUEST = replace(ASKED, tools=(WEATHER, TIME, NOTE))
every_family = pytest.mark.parametrize("family", FAMILIES, ids=[family.id for family in FAMILIES])
finishes: st.SearchStrategy[EngineFinish] = st.sampled_from(["stop", "length"])
requests = st.builds(
    replace,
    st.just(REQUEST),
    mode=st.sampled_from(Mode),
    stop=st.sampled_from([(), ("STOPPED", "</tool_call>STO\0")]),
    tool_choice=st.sampled_from([ToolChoice(), ToolChoice(), ToolChoice("required"), ToolChoice("none")]),
    answer_format=st.sampled_from([REQUEST.answer_format, REQUEST.answer_format, AnyJsonObject()]),
)


OUTPUTS = {
    "text": "Use <b>this</b> & a < b.",
    "quoted tag": "Use `<tool_call>` and `</tool_call>`.",
    "half a call": "Use <tool_call>\n<func",
    "half a call as JSON": 'Use <tool_call>\n{"nam',
    "two openings": "a <tool_call>\n<tool_call> b",
    "unknown function": "<tool_call>\n<function=nope>\n<parameter=x>\n1\n</parameter>\n</function>",
    "reasoning": "<think>\na <tool_call> b\n</think>\n\nc </think> d",
    "call": (
        "Now.\n\n<tool_call>\n<function=get_weather>\n<parameter=city>\nLeón\n</parameter>\n"
        "<parameter=days>\n12\n</parameter>\n</function>\n</tool_call>\n\nDone."
    ),
    "calls": (
        "<tool_call>\n<function=get_time>\n</function>\n</tool_call> and\n<tool_call>\n<function=note>\n"
        '<parameter=body>\n[1, {"a": "é"}]\n</parameter>\n</function>\n</tool_call>'
    ),
    "bare call": "Now.\n\n<function=get_time>\n<parameter=tz>\nUTC\n</parameter>\n</function>\nso",
    "text between parameters": (
        "<tool_call>\n<function=note>\nfirst: <think>\n<parameter=title>\na\n</parameter>\nthen: <b>\n"
        "<parameter=body>\nb c\n</parameter>\nlast\n</function>\nand\n</tool_call>\nend"
    ),
    "markup in values": (
        "<tool_call>\n<function=note>\n<parameter=title>\na </function> <p> </tool_call> </parameter> b\n"
        "</parameter>\n<parameter=body>\n<parameter=x>y</para\n</parameter>\n</function>\n</tool_call>"
    ),
    "tags without an end": (
        "<tool_call>\n<function=note>\n<parameter=title\na\n</parameter>\n<parameter=body>\nb\n<parameter=ti"
        "</tool_call> c <parameter"
    ),
    "parameters given again": (
        "<tool_call>\n<function=note>\n<parameter=title>\na\n</parameter>\n<parameter=title>\nb\n</parameter>\n"
        "<parameter=undeclared>\nc\n</parameter>\n</function>\n</tool_call>"
    ),
    "calls without an end": (
        "<tool_call>\n<function=note>\n<parameter=title>\na\n<tool_call>\n<function=get_time>\n<tool_call> b"
    ),
    "JSON call": (
        'Now.\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "L\\"eón", "days": [1, {"a": 2}]}}'
        "\n</tool_call>\nDone."
    ),
    "JSON call with more members": (
        '<tool_call>{"name": "note", "id": [1, "}"], so "n": 2, "arguments": {"title": "a"} b, '
        '"arguments": {}, "argh": null} c </tool_call> d'
    ),
    "JSON call without arguments": '<tool_call>{"name": "get_time", "arguments": null}</tool_call> a',
    "JSON arguments in a string": (
        '<tool_call>{"name": "get_time", "arguments": "{\\"tz\\": \\"a\\"}", "x": "</tool_call>"}</tool_call>'
    ),
    "JSON arguments that are no object": (
        '<tool_call>{"name": "get_time", "arguments": [12, "a"], "b": tru}</tool_call>'
        '<tool_call>{"name": "get_time", "arguments": 12.5 c}</tool_call>'
    ),
    "JSON without ends": (
        '<tool_call>{"name": "get_time", "arguments": {"tz": [1, "a" <tool_call>{"name": "note", "b" '
        '</tool_call> <tool_call>{"name": "note", "c'
    ),
}


def parts_of(family: Family, text: str) -> Iterator[str]:
    """The parts of the text, with tags as control tokens where the family has them."""
    tags = [tag for tag in family.control if tag in text]
    if not tags:
        yield text
        return
    tag = min(tags, key=text.index)
    before, _, after = text.partition(tag)
    yield before
    yield tag
    yield from parts_of(family, after)


def check(family: Family, parts: list[str], request: ChatRequest, finish: EngineFinish) -> None:
    pieces = family.pieces(parts)
    choice = family.read_pieces([pieces], request, finish)
    single = [
        replace(piece, logprobs=(TokenLogprob(i, -1.0),)) if isinstance(piece, TextPiece) else piece
        for i, piece in enumerate(recut(pieces, 1))
    ]
    scored = family.read_pieces([[piece] for piece in single], request, finish)
    assert replace(scored, logprobs=()) == choice
    # Control tokens that became text have no logprobs.
    shown = "".join(single[each.token_id].text for each in scored.logprobs)
    assert shown == re.sub("|".join(map(re.escape, family.control)), "", choice.text or "")
    assert is_accounted_for(family, parts, request, finish, choice), (parts, finish, choice)


CUTS = [
    pytest.param(family, output, mode, id=f"{name}-{family.id}-{mode}")
    for name, output in OUTPUTS.items()
    for family in FAMILIES
    for mode in ((Mode.THINKING, Mode.DIRECT) if "half" in name or "reasoning" in name else (Mode.DIRECT,))
    if ("JSON" in name) <= ("json" in family.id) and ("<function" in output) <= ("xml" in family.id)
]


@pytest.mark.slow
@pytest.mark.parametrize(("family", "output", "mode"), CUTS)
def test_nothing_is_lost_at_any_cut(family: Family, output: str, mode: Mode) -> None:
    request = replace(REQUEST, mode=mode)
    cut: list[str] = []
    for part in parts_of(family, output):
        whole = part in family.control
        for end in [len(part)] if whole else range(1, len(part) + 1):
            for finish in ("stop", "length"):
                check(family, [*cut, part[:end]], request, finish)
        cut.append(part)


_count = iter(range(10**9))
words = st.builds(lambda: f"w{next(_count)} ")
values = words | st.sampled_from(["1", "[1, 2]", '{"a": "b"}', "null", "tru", '"c"', "", "d\n", "\n\ne < f"])
rubbish = words | st.sampled_from([*MARKUP, "</tool_call", "<parameter=tz", '"arguments": {', "<|im_end|>"])


def joined(*parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*parts).map("".join)


def many(part: st.SearchStrategy[str], most: int) -> st.SearchStrategy[str]:
    return st.lists(part, max_size=most).map("".join)


def maybe(*parts: str) -> st.SearchStrategy[str]:
    """One of the parts, mostly the first."""
    return st.sampled_from([parts[0]] * 3 + [*parts, ""])


def xml_calls() -> st.SearchStrategy[str]:
    name = st.sampled_from(["city", "days", "title", "body", "tz", "undeclared", " city ", ""])
    value = joined(maybe("\n"), values, maybe("\n", "</parameter> g\n"))
    parameter = joined(
        st.just("<parameter="), name, maybe(">", "\n"), value, maybe("</parameter>"), maybe("\n")
    )
    function = st.sampled_from(["get_weather", "note", "note", "get_time", "nope"])
    head = joined(maybe("<tool_call>", "\n\n"), maybe("\n"), st.just("<function="), function, maybe(">", "="))
    body = joined(st.just("\n"), many(parameter | parameter | rubbish, 5))
    return joined(head, body, maybe("</function>"), maybe("\n", " h\n"), maybe("</tool_call>"))


def json_calls() -> st.SearchStrategy[str]:
    member = st.builds('"{}": {}'.format, st.sampled_from(["city", "days", "a"]), values)
    value = joined(st.just("{"), many(joined(member, maybe(", ")), 3), maybe("}", "}}", "]")) | values
    key = st.sampled_from(["arguments", "arguments", "name", "id", "argh"])
    more = joined(st.just(', "'), key, maybe('": ', '"', " "), value)
    name = st.sampled_from(["get_weather", "note", "nope"])
    head = st.builds('<tool_call>{}{{"name": "{}'.format, st.sampled_from(["\n", ""]), name)
    body = joined(maybe('"'), many(more | more | rubbish, 4))
    return joined(head, body, maybe("}", "}}"), maybe("\n", " h\n"), maybe("</tool_call>"))


@every_family
@given(
    before=st.sampled_from(["", "", "", "<think>\n", "a\n</think>\n\n"]),
    output=st.data(),
    request=requests,
    finish=finishes,
    cut=st.none() | st.integers(1, 40),
)
def test_nothing_is_lost_of_any_output(
    family: Family,
    before: str,
    output: st.DataObject,
    request: ChatRequest,
    finish: EngineFinish,
    cut: int | None,
) -> None:
    calls = xml_calls() if "xml" in family.id else json_calls()
    text = before + output.draw(st.lists(calls | calls | rubbish, min_size=1, max_size=5).map("".join))
    check(family, [*parts_of(family, text[:-cut] if cut else text)], request, finish)
