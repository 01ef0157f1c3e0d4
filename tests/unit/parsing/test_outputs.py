"""Outputs that models write, and what they must become."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import pytest
from tests.families import (
    ASKED,
    CITY,
    JSON,
    JSON_TEXT,
    LEON,
    LEON_JSON,
    SHUT,
    THINKING,
    XML,
    XML_TEXT,
    Family,
    recut,
)

from tessera.core.chat import AnyJsonObject, ChatRequest, ToolChoice
from tessera.core.events import ChatEvent, ReasoningDelta, TextDelta, ToolCallDelta
from tessera.core.generation import EngineFinish

NO_CALLS = replace(ASKED, tool_choice=ToolChoice("none"))
ONLY_TIME = replace(ASKED, tool_choice=ToolChoice("auto", frozenset({"get_time"})))
LEON_CALL = ("get_weather", '{"city": "León"}')


@dataclass(frozen=True)
class Output:
    """An output and its expected events. Control tokens are parts of their own."""

    id: str
    family: Family
    parts: tuple[str, ...]
    text: str | None = None
    calls: tuple[tuple[str, str], ...] = ()
    reasoning: str | None = None
    request: ChatRequest = ASKED
    finish: EngineFinish = "stop"


OUTPUTS = (
    Output(
        "none: tags are text",
        XML,
        ("<tool_call>", LEON, "</tool_call>"),
        f"<tool_call>{LEON}</tool_call>",
        request=NO_CALLS,
    ),
    Output(
        "not among the allowed",
        XML,
        ("<tool_call>", LEON, "</tool_call>"),
        f"<tool_call>{LEON}</tool_call>",
        request=ONLY_TIME,
    ),
    Output("spelled tag is text", XML, ("<tool", "_call>", LEON), f"<tool_call>{LEON}"),
    Output(
        "spelled tag without token",
        XML_TEXT,
        ("a\n<tool", "_call>", LEON, "</tool", "_call>\n"),
        "a",
        (LEON_CALL,),
    ),
    Output(
        "texts around a call keep their separator",
        XML,
        ("Voy.\n\n", "<tool_call>", LEON, "</tool_call>", "\n\nHecho."),
        "Voy.\n\nHecho.",
        (LEON_CALL,),
    ),
    Output("bare call after a paragraph", XML, ("Voy.\n\n", LEON[1:], "</tool_call>"), "Voy.", (LEON_CALL,)),
    Output("bare call in a fence is text", XML, ("```\n", LEON[1:], "```"), f"```\n{LEON[1:]}```"),
    Output("white space stays without a call", XML, (" a \n ",), " a \n "),
    Output("white space alone", XML, (" \n ",), " \n "),
    Output(
        "second reasoning block",
        XML,
        ("a\n", "</think>", "\n\n", "<think>", "\nb\n", "</think>", "\nc"),
        "c",
        reasoning="ab",
        request=THINKING,
    ),
    Output(
        "reasoning block in direct mode", XML, ("<think>", "\nb\n", "</think>", "\n\nc"), "c", reasoning="b"
    ),
    Output(
        "tags within text are text", XML, ("a ", "<think>", " b ", "</think>", " c"), "a <think> b </think> c"
    ),
    Output(
        "opening tag within reasoning",
        XML,
        ("a ", "<think>", " b\n", "</think>", "c"),
        "c",
        reasoning="a <think> b",
        request=THINKING,
    ),
    Output("unclosed reasoning keeps its newline", XML, ("a\n",), reasoning="a\n", request=THINKING),
    Output(
        "reasoning as text tags",
        JSON_TEXT,
        ("<think>\na\n</thi", "nk>\n\nb"),
        "b",
        reasoning="a",
        request=THINKING,
    ),
    Output(
        "cut in an opening within the reasoning",
        XML,
        ("a\n", "<tool_call>", "\n<func"),
        reasoning="a",
        request=THINKING,
        finish="length",
    ),
    Output("opening at the end", XML, ("a `", "<tool_call>"), "a `<tool_call>"),
    Output(
        "two openings", XML, ("<tool_call>", "<tool_call>", LEON, "</tool_call>"), "<tool_call>", (LEON_CALL,)
    ),
    Output(
        "quoted token in a value",
        XML,
        ("<tool_call>", f"{CITY}a ", "</tool_call>", f" b{SHUT}", "</tool_call>"),
        None,
        (("get_weather", '{"city": "a </tool_call> b"}'),),
    ),
    Output(
        "token after a closed value",
        XML,
        ("<tool_call>", f"{CITY}a\n</parameter>\n", "</tool_call>", "b"),
        "b",
        (("get_weather", '{"city": "a"}'),),
    ),
    Output(
        "closer, then white space, then more",
        XML,
        ("<tool_call>", f"{CITY}a</parameter>\n \n b{SHUT}", "</tool_call>"),
        None,
        (("get_weather", '{"city": "a</parameter>\\n \\n b"}'),),
    ),
    Output(
        "value never closed", XML, ("<tool_call>", f"{CITY}a\n"), None, (("get_weather", '{"city": "a"}'),)
    ),
    Output(
        "next parameter closes a value",
        XML,
        ("<tool_call>", f"{CITY}a\n<parameter=days>\n2{SHUT}", "</tool_call>"),
        None,
        (("get_weather", '{"city": "a", "days": 2}'),),
    ),
    Output(
        "unknown next parameter is text",
        XML,
        ("<tool_call>", f"{CITY}a\n<parameter=x>\n2{SHUT}", "</tool_call>"),
        None,
        (("get_weather", '{"city": "a\\n<parameter=x>\\n2"}'),),
    ),
    Output(
        "repeated parameter",
        XML,
        ("<tool_call>", f"{CITY}a\n</parameter>\n<parameter=city>\nb{SHUT}", "</tool_call>"),
        "b",
        (("get_weather", '{"city": "a"}'),),
    ),
    Output(
        "undeclared parameters",
        XML,
        (
            "<tool_call>",
            "<function=get_time>\n<parameter=a>\n[1, 2]\n</parameter>\n<parameter=b>\nx y" + SHUT,
            "</tool_call>",
        ),
        None,
        (("get_time", '{"a": [1, 2], "b": "x y"}'),),
    ),
    Output(
        "number cut by length",
        XML,
        ("<tool_call>", "\n<function=get_weather>\n<parameter=days>\n12"),
        None,
        (("get_weather", '{"days": 12'),),
        finish="length",
    ),
    Output(
        "closer cut by length is not sent",
        XML,
        ("<tool_call>", f"{CITY}a\n</para"),
        None,
        (("get_weather", '{"city": "a'),),
        finish="length",
    ),
    Output(
        "parameter cut by length is not sent",
        XML,
        ("<tool_call>", f"{CITY}a\n<parameter=da"),
        None,
        (("get_weather", '{"city": "a'),),
        finish="length",
    ),
    Output("control tokens of no meaning are text", XML, ("a", "<|im_end|>", "b"), "a"),
    Output(
        "json",
        JSON,
        (
            "a\n",
            "<tool_call>",
            f"\n{LEON_JSON}\n",
            "</tool_call>",
            "\n",
            "<tool_call>",
            f"\n{LEON_JSON}\n",
            "</tool_call>",
        ),
        "a",
        (LEON_CALL, LEON_CALL),
    ),
    Output(
        "json as text",
        JSON_TEXT,
        ("<tool_call>\n", LEON_JSON, "\n</tool_call>\n", f"<tool_call>{LEON_JSON}</tool_call>"),
        None,
        (LEON_CALL, LEON_CALL),
    ),
    Output(
        "json keeps the model's spelling",
        JSON,
        (
            "<tool_call>",
            '{"name":"get_time","arguments":{"tz":"\\u00e9" ,\n"x":[1,{"y":"}"}]}}',
            "</tool_call>",
        ),
        None,
        (("get_time", '{"tz":"\\u00e9" ,\n"x":[1,{"y":"}"}]}'),),
    ),
    Output(
        "json without arguments",
        JSON,
        ("<tool_call>", '{"name": "get_time"}', "</tool_call>"),
        None,
        (("get_time", "{}"),),
    ),
    Output(
        "json with null arguments",
        JSON,
        ("<tool_call>", '{"name": "get_time", "arguments": null}', "</tool_call>"),
        None,
        (("get_time", "{}"),),
    ),
    Output(
        "json arguments in a string",
        JSON,
        ("<tool_call>", '{"name": "get_time", "arguments": "{\\"tz\\": \\"a\\"}"}', "</tool_call>"),
        None,
        (("get_time", '{"tz": "a"}'),),
    ),
    Output(
        "json with other members",
        JSON,
        (
            "<tool_call>",
            '{"name": "get_time", "id": [1, "}"], "arguments": {"tz": "a"}, "n": 1}',
            "</tool_call>",
        ),
        '"id": [1, "}"] "n": 1',
        (("get_time", '{"tz": "a"}'),),
    ),
    Output(
        "json that lacks its last brace",
        JSON_TEXT,
        ("<tool_call>", LEON_JSON[:-1], "\n</tool_call>", "b"),
        "b",
        (LEON_CALL,),
    ),
    Output(
        "json that lacks both braces",
        JSON_TEXT,
        ("<tool_call>", LEON_JSON[:-2], "\n</tool_call>"),
        None,
        (("get_weather", '{"city": "León"\n}'),),
    ),
    Output("json that ends in a string", JSON, ("<tool_call>", LEON_JSON[:-3]), None, (LEON_CALL,)),
    Output(
        "json cut by length",
        JSON,
        ("<tool_call>", LEON_JSON[:-5]),
        None,
        (("get_weather", '{"city": "Le'),),
        finish="length",
    ),
    Output(
        "tag in a json string",
        JSON,
        ("<tool_call>", '{"name": "get_time", "arguments": {"tz": "', "</tool_call>", '"}}', "</tool_call>"),
        None,
        (("get_time", '{"tz": "</tool_call>"}'),),
    ),
    Output(
        "spelled tag in a json string",
        JSON_TEXT,
        ('<tool_call>{"name": "get_time", "arguments": {"tz": "</tool_call>"}}</tool_call>',),
        None,
        (("get_time", '{"tz": "</tool_call>"}'),),
    ),
    Output(
        "json of an unknown tool is text",
        JSON_TEXT,
        ('<tool_call>{"name": "nope", "arguments": {}}</tool_call>',),
        '<tool_call>{"name": "nope", "arguments": {}}</tool_call>',
    ),
    Output("json quoted is text", JSON_TEXT, ("Write `<tool_call>` first.",), "Write `<tool_call>` first."),
    Output(
        "text between parameters is text of the answer",
        XML,
        ("<tool_call>", "\n<function=get_weather>\nso: ", "<think>", "\n", "</tool_call>", "\nb"),
        "so: <think>\nb",
        (("get_weather", "{}"),),
    ),
    Output(
        "parameter without a name",
        XML,
        ("<tool_call>", "\n<function=get_weather>\n<parameter=ci", "</tool_call>", "\nb"),
        "<parameter=ci\nb",
        (("get_weather", "{}"),),
    ),
    Output(
        "parameter cut in its name",
        XML,
        ("<tool_call>", "\n<function=get_weather>\n<parameter=ci"),
        None,
        (("get_weather", ""),),
        finish="length",
    ),
    Output(
        "parameter without the end of its tag",
        XML,
        ("<tool_call>", f"\n<function=get_weather>\n<parameter=city\nLeón{SHUT}", "</tool_call>"),
        "<parameter=city\nLeón",
        (("get_weather", "{}"),),
    ),
    Output(
        "text before the closing tag of a call",
        XML,
        ("Voy.\n\n", "<tool_call>", f"{LEON}eso\n", "</tool_call>", "\n\nHecho."),
        "Voy.\neso\n\nHecho.",
        (LEON_CALL,),
    ),
    Output(
        "one brace too many", JSON, ("<tool_call>", f"{LEON_JSON}}}\n", "</tool_call>"), "}", (LEON_CALL,)
    ),
    Output(
        "text between parameters does not stop the call",
        XML,
        (
            "<tool_call>",
            f"\n<function=get_weather>\na STOP b\n<parameter=city>\nLeón{SHUT}",
            "</tool_call>",
            "c",
        ),
        "a ",
        (LEON_CALL,),
        request=replace(ASKED, stop=("STOP",)),
    ),
    Output(
        "half a call at the end",
        XML_TEXT,
        ("Use <tool_call>\n<func",),
        "Use <tool_call>\n<func",
    ),
    Output("half a call that the length cut", XML_TEXT, ("Use <tool_call>\n<func",), "Use", finish="length"),
    Output("half a tag that the length cut", XML_TEXT, ("Use <tool_ca",), "Use <tool_ca", finish="length"),
    Output(
        "half a tag that the length cut between calls",
        JSON_TEXT,
        (f"<tool_call>\n{LEON_JSON}\n</tool_call>\n<tool_ca",),
        None,
        (LEON_CALL,),
        finish="length",
    ),
    Output(
        "what may be a tag within a value that the length cut",
        XML,
        ("<tool_call>", f"{CITY}a <"),
        None,
        (("get_weather", '{"city": "a <'),),
        finish="length",
    ),
    Output(
        "value of any type cut by length",
        XML,
        ("<tool_call>", "<function=get_time><parameter=x>so"),
        None,
        (("get_time", '{"x": "so'),),
        finish="length",
    ),
    Output(
        "arguments in a string cut by length",
        JSON,
        ("<tool_call>", '{"name": "get_time", "arguments": "{\\"tz\\": \\"a'),
        None,
        (("get_time", '{"tz": "a'),),
        finish="length",
    ),
    Output(
        "spelled call in a JSON answer is text",
        XML_TEXT,
        ('{"a": "<tool_call><function=get_weather></function></tool_call>"}',),
        '{"a": "<tool_call><function=get_weather></function></tool_call>"}',
        request=replace(ASKED, answer_format=AnyJsonObject()),
    ),
    Output(
        "half a stop string before a call",
        XML,
        ("ab ST", "<tool_call>", LEON, "</tool_call>", "OP"),
        "ab STOP",
        (LEON_CALL,),
        request=replace(ASKED, stop=("STOP",)),
    ),
    Output(
        "white space between calls does not stop",
        XML,
        ("<tool_call>", LEON, "</tool_call>", "\n\n", "<tool_call>", LEON, "</tool_call>"),
        None,
        (LEON_CALL, LEON_CALL),
        request=replace(ASKED, stop=("\n\n",)),
    ),
    Output(
        "white space between texts does",
        XML,
        ("a", "<tool_call>", LEON, "</tool_call>", "\n\n", "b"),
        "a",
        (LEON_CALL,),
        request=replace(ASKED, stop=("\n\n",)),
    ),
    Output(
        "newlines after the reasoning do not stop",
        XML,
        ("a\n", "</think>", "\n\n", "b\n\nc"),
        "b",
        reasoning="a",
        request=replace(THINKING, stop=("\n\n",)),
    ),
    Output(
        "json arguments that are no object",
        JSON,
        ("<tool_call>", '{"name": "get_time", "arguments": [1] }', "</tool_call>"),
        None,
        (("get_time", "[1]"),),
    ),
    Output(
        "json without a value",
        JSON,
        ("<tool_call>", '{"name": "get_time", "arguments":}', "</tool_call>"),
        None,
        (("get_time", "{}"),),
    ),
)


@pytest.mark.parametrize("output", OUTPUTS, ids=[output.id for output in OUTPUTS])
def test_output_becomes(output: Output) -> None:
    for longest in (1, 3, 10**6):
        pieces = recut(output.family.pieces(output.parts), longest)
        choice = output.family.read_pieces([[piece] for piece in pieces], output.request, output.finish)
        assert choice.text == output.text
        assert choice.reasoning == output.reasoning
        assert tuple((call.name, call.arguments) for call in choice.tool_calls) == output.calls


def shown(events: Iterable[ChatEvent]) -> str:
    """The events as the client sees them."""
    parts: list[str] = []
    for event in events:
        match event:
            case TextDelta() | ReasoningDelta():
                parts.append(event.text)
            case ToolCallDelta():
                parts.append(event.arguments)
            case _:
                pass
    return "".join(parts)


@dataclass(frozen=True)
class Turn:
    """The expected text after each part of an output."""

    id: str
    family: Family
    steps: tuple[tuple[str, str], ...]
    request: ChatRequest = ASKED


TURNS = (
    Turn("text", XML, (("Hola", "Hola"), (" a < b", " a < b"), ("\n", ""), ("c", "\nc"))),
    Turn("white space that no call can follow", XML, (("a\n", "a\n"), (" ", " ")), NO_CALLS),
    Turn("reasoning", XML, (("a", "a"), ("b\n\n", "b\n"), ("c", "\nc")), THINKING),
    Turn("stop string", XML, (("a ST", "a "), ("O", ""), ("RY", "STORY")), replace(NO_CALLS, stop=("STOP",))),
    Turn(
        "string parameter",
        XML,
        (
            ("<tool_call>", ""),
            (CITY, '{"city": "'),
            ("Le", "Le"),
            ('"ó"', '\\"ó\\"'),
            ("\n", ""),
            ("n</", "\\nn"),
            ("x", "</x"),
            (SHUT, '"}'),
        ),
    ),
    Turn(
        "other parameter",
        XML,
        (
            ("<tool_call>", ""),
            ("<function=get_weather><parameter=days>", '{"days": '),
            ("12", ""),
            ("</parameter>", ""),
            ("</function>", "12}"),
        ),
    ),
    Turn(
        "json arguments",
        JSON,
        (
            ("<tool_call>", ""),
            (LEON_JSON.partition(': "L')[0], '{"city"'),
            (': "Le', ': "Le'),
            ('ón"', 'ón"'),
            ("}", "}"),
            ("}", ""),
        ),
    ),
    Turn(
        "no call after all",
        XML,
        (("a ", "a"), ("<tool_call>", ""), ("\n<func", ""), ("y", " <tool_call>\n<funcy")),
    ),
)


@pytest.mark.parametrize("turn", TURNS, ids=[turn.id for turn in TURNS])
def test_what_is_decided_is_shown_at_once(turn: Turn) -> None:
    parser = turn.family.parser(turn.request)
    for part, seen in turn.steps:
        assert shown(parser.feed(turn.family.pieces([part]))) == seen
