"""Calls of GLM, in the tags of its own, become calls however they are cut."""

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.families import (
    ASKED,
    GLM_4_7_TOKENS,
    GLM_FAMILIES,
    GLM_TAGS,
    GLM_TEXT,
    GLM_TOKENS,
    THINKING,
    Family,
    Output,
    recut,
)
from tests.strategies import MARKUP, calls, plain_texts

from tessera.core.chat import (
    AnyJsonObject,
    AssistantMessage,
    ChatRequest,
    Mode,
    Tool,
    ToolCall,
    ToolChoice,
    UserMessage,
)
from tessera.core.generation import EngineFinish
from tessera.formats.base import Control

every_family = pytest.mark.parametrize("family", GLM_FAMILIES, ids=lambda family: family.id)
LEON = ("get_weather", '{"city": "León"}')
CITY = "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>"
CALL = f"{CITY}León</arg_value>\n</tool_call>"
FLAT = CALL.replace("\n", "")
_TAG = re.compile("(" + "|".join(map(re.escape, [*GLM_TAGS, "<|user|>", "<|observation|>"])) + ")")


OUTPUTS = (
    Output("an answer", "\nHola<|user|>", "Hola"),
    Output("reasoning and an answer", "Hm.</think>\nSí.", "Sí.", (), "Hm.", THINKING),
    Output("reasoning that the model opens too", "\n<think>Hm.</think>\nSí.", "Sí.", (), "Hm.", THINKING),
    Output("a call", f"\n{CALL}<|observation|>", None, (LEON,)),
    Output("a call without lines", FLAT, None, (LEON,)),
    Output("a call within the reasoning", f"Hm.{CALL}", None, (LEON,), "Hm.", THINKING),
    Output("a text and calls", f"\nVoy.\n{CALL}\n{CALL}", "Voy.", (LEON, LEON)),
    Output("no parameters", "<tool_call>get_time\n</tool_call>\na", "a", (("get_time", "{}"),)),
    Output("no parameters, and no line", "<tool_call>get_time</tool_call>", None, (("get_time", "{}"),)),
    Output(
        "a value of lines", f"{CITY}\na\n</arg_value></tool_call>", None, ((LEON[0], '{"city": "\\na\\n"}'),)
    ),
    Output("an empty value", f"{CITY}</arg_value></tool_call>", None, ((LEON[0], '{"city": ""}'),)),
    Output(
        "a number",
        "<tool_call>get_weather<arg_key>days</arg_key><arg_value>3</arg_value></tool_call>",
        None,
        ((LEON[0], '{"days": 3}'),),
    ),
    Output(
        "a closing tag in a value",
        f"{CITY}a</arg_value>b</arg_value></tool_call>",
        None,
        ((LEON[0], '{"city": "a</arg_value>b"}'),),
    ),
    Output(
        "other tags in a value",
        f"{CITY}<arg_key></tool_call></arg_value></tool_call>",
        None,
        ((LEON[0], '{"city": "<arg_key></tool_call>"}'),),
    ),
    Output("a value without an end", f"{CITY}León", None, (LEON,)),
    Output("a value that was cut", f"{CITY}Le", None, ((LEON[0], '{"city": "Le'),), finish="length"),
    Output("a key that was cut", CITY[:-20], None, ((LEON[0], ""),), finish="length"),
    Output(
        "a key without a value",
        "<tool_call>get_weather\n<arg_key>city</arg_key>so</tool_call>",
        "<arg_key>city</arg_key>so",
        ((LEON[0], "{}"),),
    ),
    Output(
        "a value without a key",
        "<tool_call>get_time\n<arg_value>a</arg_value></tool_call>",
        "<arg_value>a",
        (("get_time", "{}"),),
    ),
    Output(
        "text between parameters",
        f"{CITY}León</arg_value>\nso\n</tool_call>",
        None,
        ((LEON[0], '{"city": "León</arg_value>\\nso\\n</tool_call>"}'),),
    ),
    Output("an unknown function", "<tool_call>nope\n</tool_call>", "<tool_call>nope\n</tool_call>"),
    Output("the beginning of a name", "<tool_call>get\n</tool_call>", "<tool_call>get\n</tool_call>"),
)


def parts(written: str) -> list[str]:
    return [part for part in _TAG.split(written) if part]


@pytest.mark.parametrize("output", OUTPUTS, ids=[output.id for output in OUTPUTS])
@every_family
def test_output_becomes(family: Family, output: Output) -> None:
    for longest in (1, 3, 10**6):
        pieces = recut(family.pieces(parts(output.written)), longest)
        choice = family.read_pieces([[piece] for piece in pieces], output.request, output.finish)
        assert choice.text == (output.text if "4.7" not in family.id or not output.text else choice.text)
        assert (choice.text or "").strip() == (output.text or "").strip()
        assert choice.reasoning == output.reasoning
        assert tuple((call.name, call.arguments) for call in choice.tool_calls) == output.calls


scraps = st.lists(
    st.sampled_from(
        [*GLM_TAGS, *GLM_TAGS, "<|user|>", "get_weather", "get_time", "city", CALL, FLAT, CITY, *MARKUP]
    )
    | plain_texts,
    max_size=20,
)
finishes: st.SearchStrategy[EngineFinish] = st.sampled_from(["stop", "length"])
requests = st.builds(
    replace,
    st.just(ASKED),
    mode=st.sampled_from(Mode),
    stop=st.sampled_from([(), ("STOP",)]),
    tool_choice=st.sampled_from([ToolChoice(), ToolChoice("required"), ToolChoice("none")]),
    answer_format=st.sampled_from([ASKED.answer_format, AnyJsonObject()]),
)


@every_family
@given(written=scraps, request=requests, finish=finishes, longest=st.sampled_from([1, 2, 7, 10**6]))
def test_cuts_change_nothing(
    family: Family, written: list[str], request: ChatRequest, finish: EngineFinish, longest: int
) -> None:
    pieces = family.pieces(parts("".join(written)))
    whole = family.read_pieces([pieces], request, finish)
    assert family.read_pieces([[piece] for piece in recut(pieces, longest)], request, finish) == whole


@every_family
@given(written=scraps, request=requests)
def test_words_are_not_lost(family: Family, written: list[str], request: ChatRequest) -> None:
    """Every word that was written is shown or is an argument, but for names that markup holds."""
    request = replace(request, stop=())
    words = [f"word{i}" for i in range(len(written))]
    text = "".join(f"{scrap}{word} " for scrap, word in zip(written, words, strict=True))
    choice = family.read(parts(text), request)
    seen = f"{choice.reasoning}{choice.text}{[call.arguments for call in choice.tool_calls]}"
    ended = text.partition("<|user|>")[0]
    lost = [word for word in words if f"{word} " in ended and word not in seen]
    assert not lost


@every_family
def test_no_part_of_a_call_is_content_where_only_calls_may_be(family: Family) -> None:
    request = replace(ASKED, tool_choice=ToolChoice("required"))
    items = [
        item for part in parts(f"\n{CALL}\n{CALL}") for item in ([part] if part in family.control else part)
    ]
    for n in range(len(items) + 1):
        assert not (family.read(items[:n], request, "length").text or "").strip(), items[:n]


@given(called=calls(), before=plain_texts, family=st.sampled_from(GLM_FAMILIES))
def test_a_call_we_render_is_the_call_we_parse(
    called: tuple[Tool, dict[str, object]], before: str, family: Family
) -> None:
    function, arguments = called
    call = ToolCall("call_0", function.name, json.dumps(arguments))
    request = ChatRequest((UserMessage("x"), AssistantMessage(before.strip(), None, (call, call))))
    segments = family.format.render(request)
    written = "".join(segment.token if isinstance(segment, Control) else segment.text for segment in segments)
    turn = re.split(r"</think>", written.split("<|assistant|>")[1], maxsplit=1)[1]
    choice = family.read(parts(turn), replace(ASKED, tools=(function,)))
    assert [each.name for each in choice.tool_calls] == [function.name] * 2
    assert [json.loads(each.arguments) for each in choice.tool_calls] == [arguments] * 2
    assert (choice.text or "").strip() == before.strip()


def test_a_name_that_begins_another_is_told_from_it() -> None:
    tools = (Tool("get", {}, {}), Tool("get_more", {}, {}))
    for family in (GLM_TOKENS, GLM_TEXT, GLM_4_7_TOKENS):
        choice = family.read(
            parts("<tool_call>get\n</tool_call><tool_call>get_more</tool_call>"), replace(ASKED, tools=tools)
        )
        assert [call.name for call in choice.tool_calls] == ["get", "get_more"]
