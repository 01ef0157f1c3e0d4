"""The parser under any output, well-formed or not, in every family, however it is cut."""

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.families import (
    ASKED,
    CITY,
    FAMILIES,
    JSON,
    JSON_TEXT,
    LEON,
    LEON_JSON,
    TAGS,
    THINKING,
    TIME,
    WEATHER,
    XML,
    XML_TEXT,
    Family,
    recut,
)
from tests.strategies import calls, plain_texts, scraps

from tessera.core.chat import (
    AnyJsonObject,
    AssistantMessage,
    ChatRequest,
    FreeText,
    Mode,
    Tool,
    ToolCall,
    ToolChoice,
    UserMessage,
)
from tessera.core.generation import EngineFinish, TokenLogprob
from tessera.formats.base import Control
from tessera.parsing.states import State
from tessera.text.pieces import ControlPiece, Piece, TextPiece

every_family = pytest.mark.parametrize("family", FAMILIES, ids=[family.id for family in FAMILIES])
finishes: st.SearchStrategy[EngineFinish] = st.sampled_from(["stop", "length"])
requests = st.builds(
    replace,
    st.just(ASKED),
    mode=st.sampled_from(Mode),
    stop=st.sampled_from([(), ("STOP",), ("\n\n", "}")]),
    tool_choice=st.sampled_from([ToolChoice(), ToolChoice("required")]),
    answer_format=st.sampled_from([FreeText(), AnyJsonObject()]),
    parallel_tool_calls=st.booleans(),
    tools=st.sampled_from([(), (WEATHER,), (WEATHER, TIME)]),
)


@every_family
@given(parts=scraps, request=requests, finish=finishes, longest=st.sampled_from([1, 2, 7, 10**6]))
def test_cuts_change_nothing(
    family: Family, parts: list[str], request: ChatRequest, finish: EngineFinish, longest: int
) -> None:
    pieces = family.pieces(parts)
    whole = family.read_pieces([pieces], request, finish)
    assert family.read_pieces([[piece] for piece in recut(pieces, longest)], request, finish) == whole


@every_family
@given(parts=scraps, request=requests, finish=finishes)
def test_calls_are_whole(
    family: Family, parts: list[str], request: ChatRequest, finish: EngineFinish
) -> None:
    choice = family.read(parts, request, finish)
    assert {call.name for call in choice.tool_calls} <= {each.name for each in request.tools}
    assert len(choice.tool_calls) <= (1 if not request.parallel_tool_calls else 99)
    if finish == "stop" and family.format is XML.format:
        for call in choice.tool_calls:
            assert isinstance(json.loads(call.arguments), dict)


@every_family
@given(parts=scraps, stop=st.lists(st.sampled_from(["STOP", "word", "TOP", "}", "\n"]), min_size=1))
def test_stop_strings_end_the_text(family: Family, parts: list[str], stop: list[str]) -> None:
    """With nothing but text, the result is what a search of the whole text finds."""
    parts = [part for part in parts if part not in TAGS]
    choice = family.read(parts, ChatRequest((UserMessage("x"),), stop=tuple(stop)))
    text = "".join(parts)
    if "<think>" not in text and "</think>" not in text:
        ends = [(text.index(each) + len(each), -len(each)) for each in stop if each in text]
        expected = text[: sum(min(ends))] if ends else text
        assert (choice.text or "") == expected


@given(called=calls(), before=plain_texts, family=st.sampled_from([XML, JSON, JSON_TEXT, XML_TEXT]))
def test_a_call_we_render_is_the_call_we_parse(
    called: tuple[Tool, dict[str, object]], before: str, family: Family
) -> None:
    function, arguments = called
    call = ToolCall("call_0", function.name, json.dumps(arguments))
    request = ChatRequest((UserMessage("x"), AssistantMessage(before.strip(), None, (call, call))))
    segments = family.format.render(request)
    written = [segment.token if isinstance(segment, Control) else segment.text for segment in segments]
    turn = "".join(written).split("<|im_start|>assistant\n")[1].removeprefix("<think>\n\n</think>\n\n")
    parts = re.split("(" + "|".join(map(re.escape, [*TAGS, "<|im_end|>"])) + ")", turn)
    choice = family.read(parts, replace(ASKED, tools=(function,)))
    assert [each.name for each in choice.tool_calls] == [function.name] * 2
    assert [json.loads(each.arguments) for each in choice.tool_calls] == [arguments] * 2
    assert (choice.text or "").strip() == before.strip()


def test_logprobs_are_those_of_the_visible_text() -> None:
    def piece(text: str, id: int) -> TextPiece:
        return TextPiece(text, (TokenLogprob(id, -1.0),))

    think, call, end = (ControlPiece(0, tag) for tag in ("</think>", "<tool_call>", "</tool_call>"))
    steps: list[list[Piece]] = [
        [piece("Hm.", 1)], [piece("\n", 2)], [think], [piece("\n\n", 3)], [piece("Voy", 4)], [piece(" a", 5)],
        [piece("\n\n", 6)], [call], [piece(LEON, 7)], [end], [piece("\n", 8)], [piece("ya ", 9)],
        [piece("ST", 10)], [piece("x", 11)], [piece("a ST", 12)], [piece("OP b", 13)], [piece("c", 14)],
    ]  # fmt: skip
    choice = XML.read_pieces(steps, replace(THINKING, stop=("STOP",)), "stop")
    assert choice.text == "Voy a\nya STxa "
    assert [each.token_id for each in choice.logprobs] == [4, 5, 8, 9, 10, 11]


def test_in_reasoning_follows_the_tags() -> None:
    parser = XML.parser(THINKING)
    seen: list[bool] = []
    for piece in XML.pieces(["a", "<tool_call>", "b", "</think>", "c"]):
        seen.append(parser.state is State.REASONING)
        parser.feed([piece])
    assert seen == [True, True, True, True, False]


HOSTILE = {
    "openings": ["<tool_call>"],
    "openings that nearly are": ["<tool_call>", "\n<function=get_weathe"],
    "bare openings": ["\n\n<function=get_weather>\n"],
    "white space": [" \n"],
    "brackets": ["<", "{", "["],
    "calls": ["<tool_call>", LEON, "</tool_call>"],
    "json openings": ["<tool_call>", '{"name": "get_weather"', " "],
    "stops": ["STO"],
    "stray text": ["a ", "</parameter>", "\n"],
    "members": ['"id": [1, "}"], '],
    "parameters that came before": ["<parameter=city>\na\n</parameter>\n"],
    "half names": ["<parameter=ci\n"],
    "tags of thinking": ["<think>", "\n", "</think>", "\n"],
}
WITHIN = {
    "text": [],
    "an opening": ["<tool_call>"],
    "a value": ["<tool_call>", CITY],
    "a closed value": ["<tool_call>", CITY, "</parameter>"],
    "a call": ["<tool_call>", "\n<function=get_weather>\n"],
    "a key": ["<tool_call>", "\n<function=get_weather>\n<parameter="],
    "a json string": ["<tool_call>", LEON_JSON[:-3]],
    "a json object": ["<tool_call>", LEON_JSON[:-2]],
}


@pytest.mark.slow
@every_family
@pytest.mark.parametrize("within", WITHIN)
@pytest.mark.parametrize("hostile", [*HOSTILE, "closers", "parameters", "quotes"])
def test_work_grows_with_the_length(family: Family, within: str, hostile: str) -> None:
    """Twice the output costs at most twice the calls, whatever it is made of."""
    extra = {"closers": ["</parameter>", " "], "parameters": ["\n<parameter=da"], "quotes": ['"', "\\", ","]}
    unit = (HOSTILE | extra)[hostile]

    def work(n: int) -> int:
        return family.work([*WITHIN[within], *unit * n])

    base = work(0)
    assert work(80) - base <= 2.2 * (work(40) - base) + 200
