"""Calls that are JSON between fixed texts: in every family, however they are cut, and wherever they end."""

import re
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.families import ASKED, Family, recut
from tests.template_families import FRAMED_FAMILIES

from tessera.core.chat import AnyJsonObject, ChatRequest, Mode, ToolChoice
from tessera.core.events import FinishReason
from tessera.core.generation import EngineFinish
from tessera.core.result import Choice
from tessera.parsing.syntax import CallForm

every_family = pytest.mark.parametrize("family", FRAMED_FAMILIES, ids=lambda family: family.id)
CALLS = (("get_weather", '{"city": "L\\"eón}]", "days": [1, {"a": 2}]}'), ("get_time", "{}"))
REQUIRED = replace(ASKED, tool_choice=ToolChoice("required"))
finishes: st.SearchStrategy[EngineFinish] = st.sampled_from(["stop", "length"])
requests = st.builds(
    replace,
    st.just(ASKED),
    mode=st.sampled_from(Mode),
    stop=st.sampled_from([(), ("STOP",), ("\n\n", "}")]),
    tool_choice=st.sampled_from([ToolChoice(), ToolChoice("required"), ToolChoice("none")]),
    answer_format=st.sampled_from([ASKED.answer_format, AnyJsonObject()]),
    parallel_tool_calls=st.booleans(),
)


def form_of(family: Family) -> CallForm:
    form = family.format.syntax.form
    assert form is not None
    return form


def written(family: Family, calls: Sequence[tuple[str, str]] = CALLS, *, tagged: bool = False) -> str:
    """Calls as the family's models write them; only the first where a reply has at most one."""
    form, call = form_of(family), family.format.syntax.call
    assert call is not None
    text = "" if form.bare and not tagged else call.open
    for i, (name, arguments) in enumerate(calls if form.next is not None else calls[:1]):
        before = form.next if i and form.next is not None else form.first
        identifier = "1" * 9 + form.after_id if form.id else ""
        text += f"{before}{name}{form.between}{identifier}{arguments}"
    return text + form.last


def parts(family: Family, text: str) -> list[str]:
    """The parts of the text; tags that are control tokens are parts of their own."""
    tags = "|".join(map(re.escape, family.control))
    return [part for part in re.split(f"({tags})", text) if part]


def calls_of(choice: Choice) -> tuple[tuple[str, str], ...]:
    return tuple((call.name, call.arguments) for call in choice.tool_calls)


def expected(family: Family) -> tuple[tuple[str, str], ...]:
    return CALLS if form_of(family).next is not None else CALLS[:1]


def before_calls(family: Family) -> str:
    return "" if form_of(family).bare else "I look.\n\n"


@every_family
@pytest.mark.parametrize("longest", [1, 2, 3, 7, 10**6])
def test_text_and_calls(family: Family, longest: int) -> None:
    said = before_calls(family)
    pieces = recut(family.pieces(parts(family, said + written(family))), longest)
    choice = family.read_pieces([[piece] for piece in pieces], ASKED, "stop")
    assert choice.text == (said.strip() or None)
    assert calls_of(choice) == expected(family)
    assert choice.finish_reason is FinishReason.TOOL_CALLS


@every_family
def test_any_cut_in_two_pieces_gives_the_same(family: Family) -> None:
    text = before_calls(family) + written(family)
    whole = family.read(parts(family, text))
    for at in range(len(text)):
        first = parts(family, text[:at])
        if "".join(first + (rest := parts(family, text[at:]))) == text and not _cuts_a_tag(family, text, at):
            assert family.read([*first, *rest]) == whole, at


def _cuts_a_tag(family: Family, text: str, at: int) -> bool:
    tags = "|".join(map(re.escape, family.control))
    return any(found.start() < at < found.end() for found in re.finditer(tags, text))


@every_family
@pytest.mark.parametrize(
    "request_", [REQUIRED, replace(REQUIRED, answer_format=AnyJsonObject())], ids=["calls", "JSON"]
)
def test_no_part_of_calls_is_content_where_only_calls_may_be(family: Family, request_: ChatRequest) -> None:
    whole = parts(family, written(family))
    cuts = [[*whole[:i], part[:n]] for i, part in enumerate(whole) for n in _ends(family, part)]
    for cut in cuts:
        for finish in ("length", "stop"):
            choice = family.read(cut, request_, finish)
            if finish == "length":
                assert choice.text is None, cut
                assert choice.finish_reason is FinishReason.LENGTH
            for read, call in zip(calls_of(choice), expected(family), strict=False):
                assert read[0] == call[0]
                assert finish == "stop" or call[1].startswith(read[1])


def _ends(family: Family, part: str) -> Sequence[int]:
    return [len(part)] if part in family.control else range(1, len(part) + 1)


@every_family
def test_no_part_of_calls_is_content_once_their_tag_is_whole(family: Family) -> None:
    call = family.format.syntax.call
    assert call is not None
    if form_of(family).bare:
        return
    text = written(family)
    for n in range(len(call.open), len(text)):
        if not _cuts_a_tag(family, text, n):
            choice = family.read(parts(family, f"Hm. {text[:n]}"), ASKED, "length")
            assert choice.text == "Hm.", text[:n]


@every_family
def test_the_end_within_the_closing_text_is_no_content(family: Family) -> None:
    text = written(family)
    for n in range(len(text) - len(form_of(family).last), len(text)):
        if not _cuts_a_tag(family, text, n):
            choice = family.read(parts(family, text[:n]), ASKED, "stop")
            assert (choice.text, calls_of(choice)) == (None, expected(family))


@every_family
def test_calls_are_text_if_none_may_be_made(family: Family) -> None:
    choice = family.read(parts(family, written(family)), replace(ASKED, tool_choice=ToolChoice("none")))
    assert (choice.text, choice.tool_calls) == (written(family), ())


@every_family
def test_a_call_of_an_unknown_function_is_text(family: Family) -> None:
    text = written(family, [("nope", "{}")])
    choice = family.read(parts(family, text))
    assert (choice.text, choice.tool_calls) == (text, ())


@every_family
def test_a_second_call_ends_a_reply_of_one(family: Family) -> None:
    choice = family.read(parts(family, written(family)), replace(ASKED, parallel_tool_calls=False))
    assert calls_of(choice) == CALLS[:1]
    assert choice.text is None


@every_family
def test_reasoning_comes_before_the_calls(family: Family) -> None:
    tags = family.format.syntax.reasoning
    assert tags is not None
    text = f"Hm.{tags.close}{''.join(family.format.syntax.after_close)}{written(family)}"
    choice = family.read(parts(family, text), replace(ASKED, mode=Mode.THINKING))
    assert (choice.reasoning, choice.text, calls_of(choice)) == ("Hm.", None, expected(family))


@every_family
def test_tags_within_arguments_are_text(family: Family) -> None:
    call = family.format.syntax.call
    assert call is not None
    arguments = f'{{"city": "a {call.open} b {call.close} {form_of(family).last}"}}'.replace("\n", "")
    if form_of(family).last.startswith(("}", '"')):
        arguments = '{"city": "a } b"}'
    choice = family.read(parts(family, written(family, [("get_weather", arguments)])))
    assert (choice.text, calls_of(choice)) == (None, (("get_weather", arguments),))


@every_family
@given(
    scraps=st.data(),
    request=requests,
    finish=finishes,
    longest=st.sampled_from([1, 2, 7, 10**6]),
)
def test_cuts_change_nothing(
    family: Family, scraps: st.DataObject, request: ChatRequest, finish: EngineFinish, longest: int
) -> None:
    form, call = form_of(family), family.format.syntax.call
    assert call is not None
    markup = [
        call.open,
        call.close,
        form.first,
        form.between,
        form.after_id,
        form.next or "",
        form.last,
        "STOP",
    ]
    more = [
        "get_weather",
        "get_time",
        "{",
        "}",
        '"',
        "\\",
        '{"a": [1]}',
        "\n\n",
        "text ",
        "<think>",
        "</think>",
    ]
    some = st.sampled_from([*filter(None, markup), *more]) | st.sampled_from([written(family)])
    pieces = family.pieces(parts(family, "".join(scraps.draw(st.lists(some, max_size=12)))))
    whole = family.read_pieces([pieces], request, finish)
    assert family.read_pieces([[piece] for piece in recut(pieces, longest)], request, finish) == whole
    assert {call.name for call in whole.tool_calls} <= {*request.callable_tools}
    assert len(whole.tool_calls) <= (1 if request.one_call else 99)


def test_a_bare_call_stands_at_the_beginning_only() -> None:
    llama = next(family for family in FRAMED_FAMILIES if family.id == "llama3")
    text = "Write\n\n" + written(llama)
    assert llama.read([text]).text == text
    assert calls_of(llama.read(["\n ", written(llama)])) == CALLS[:1]
    typed = written(llama).replace("{", '{"type": "function", ', 1)
    assert calls_of(llama.read([typed])) == CALLS[:1]


def test_a_bare_call_has_its_tag_where_json_may_come_instead() -> None:
    llama = next(family for family in FRAMED_FAMILIES if family.id == "llama3")
    request = replace(ASKED, answer_format=AnyJsonObject())
    assert llama.read([written(llama)], request).text == written(llama)
    assert calls_of(llama.read(parts(llama, written(llama, tagged=True)), request)) == CALLS[:1]


def test_a_reply_that_only_begins_like_a_bare_call_is_text() -> None:
    llama = next(family for family in FRAMED_FAMILIES if family.id == "llama3")
    for text in ('{"name": "Ana", "age": 3}', "{", '{"name": "get_weather", "x": 1}', "{}"):
        assert (llama.read([*text]).text, llama.read([*text]).tool_calls) == (text, ())


@pytest.mark.slow
@every_family
@pytest.mark.parametrize("within", ["text", "arguments", "a string"])
def test_work_grows_with_the_length(family: Family, within: str) -> None:
    """Twice the output costs at most twice the calls, whatever it is made of."""
    form, call = form_of(family), family.format.syntax.call
    assert call is not None
    begun = written(family, [("get_weather", '{"city": "')]).removesuffix(form.last)
    before = {"text": "", "arguments": begun.removesuffix('"'), "a string": begun}[within]
    units = [call.open, form.first, form.between, form.next or "", form.last, '"', "{", "}", "\\", "<", " "]

    def work(unit: str, n: int) -> int:
        return family.work(parts(family, before) + parts(family, unit) * n)

    for unit in filter(None, units):
        work(unit, 2)  # compiles what is compiled once
        base = work(unit, 0)
        assert work(unit, 60) - base <= 2.2 * (work(unit, 30) - base) + 200, unit
