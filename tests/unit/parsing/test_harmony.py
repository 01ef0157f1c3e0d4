"""Messages of gpt-oss become reasoning, text and calls, however they are cut."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.families import (
    ASKED,
    HARMONY,
    HARMONY_ENDS,
    HARMONY_FAMILIES,
    HARMONY_TAGS,
    HARMONY_TEXT,
    THINKING,
    Family,
    Output,
    recut,
)
from tests.strategies import MARKUP, plain_texts

from tessera.core.chat import AnyJsonObject, ChatRequest, Mode, ToolChoice, UserMessage
from tessera.core.events import FinishReason
from tessera.core.generation import EngineFinish
from tessera.parsing.states import TRANSITIONS, Event, State

every_family = pytest.mark.parametrize("family", HARMONY_FAMILIES, ids=lambda family: family.id)
NO_TOOLS = ChatRequest((UserMessage("x"),))
JSON = replace(ASKED, answer_format=AnyJsonObject())

FINAL = "<|channel|>final<|message|>"
COMMENTARY = "<|channel|>commentary<|message|>"
ANALYSIS = "<|channel|>analysis<|message|>"
NEXT = "<|end|><|start|>assistant"
HEAD = "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>"
CALL = f'{HEAD}{{"city": "León"}}'
LEON = ("get_weather", '{"city": "León"}')
TIME = ("get_time", '{"tz": "UTC"}')
_TAG = re.compile(r"(<\|\w+\|>)")


OUTPUTS = (
    Output("an answer", f"{FINAL}Hola\n<|return|>x", "Hola\n"),
    Output("reasoning and an answer", f"Hm.\n{NEXT}{FINAL}Sí.<|return|>", "Sí.", (), "Hm.\n", THINKING),
    Output("reasoning and a call", f"Hm.{NEXT}{CALL}<|call|>", None, (LEON,), "Hm.", THINKING),
    Output("reasoning alone", "Hm.<|return|>", None, (), "Hm.", THINKING),
    Output("reasoning that was closed at once", f"{FINAL}Hola", "Hola"),
    Output("reasoning in the direct mode", f"{ANALYSIS}Hm.{NEXT}{FINAL}Sí.", "Sí.", (), "Hm."),
    Output("reasoning that is opened again", f"{ANALYSIS}Hm.{NEXT}{FINAL}Sí.", "Sí.", (), "Hm.", THINKING),
    Output("two messages of reasoning", f"a{NEXT}{ANALYSIS}b{NEXT}{FINAL}c", "c", (), "a\n\nb", THINKING),
    Output("a plan before a call", f"{COMMENTARY}Voy.\n{NEXT}{CALL}<|call|>", "Voy.", (LEON,)),
    Output("a comment before the answer", f"{COMMENTARY}a{NEXT}{FINAL}b", "a\n\nb"),
    Output("a call without a type", HEAD.replace(" <|constrain|>json", "") + LEON[1], None, (LEON,)),
    Output("a call with the type in words", HEAD.replace("<|constrain|>", "") + LEON[1], None, (LEON,)),
    Output("a type without a blank", HEAD.replace(" <|con", "<|con") + LEON[1], None, (LEON,)),
    Output(
        "the recipient before the channel",
        ' to=functions.get_time<|channel|>commentary json<|message|>{"tz": "UTC"}<|call|>',
        None,
        (TIME,),
    ),
    Output("a call on the channel of the reasoning", CALL.replace("commentary", "analysis"), None, (LEON,)),
    Output(
        "calls one after the other",
        f'{CALL}{NEXT} to=functions.get_time<|channel|>commentary<|message|>{{"tz": "UTC"}}',
        None,
        (LEON, TIME),
    ),
    Output(
        "one call, where no more are allowed",
        f"{CALL}{NEXT}{CALL}",
        None,
        (LEON,),
        request=replace(ASKED, parallel_tool_calls=False),
    ),
    Output("a call and an answer", f"{CALL}{NEXT}{FINAL}Hecho.", "Hecho.", (LEON,)),
    Output("a call that is interrupted", f"{CALL}<|start|>assistant{FINAL}Hecho.", "Hecho.", (LEON,)),
    Output(
        "tags in arguments",
        f'{HEAD}{{"city": "<|end|><|start|>"}}',
        None,
        ((LEON[0], '{"city": "<|end|><|start|>"}'),),
    ),
    Output("text after the arguments", f"{CALL} so\n<|call|>", "so", (LEON,)),
    Output("no arguments", f"{HEAD}<|call|>", None, ((LEON[0], "{}"),)),
    Output("arguments that are null", f"{HEAD}null<|call|>", None, ((LEON[0], "{}"),)),
    Output("arguments in a string", f'{HEAD}"{{\\"a\\": 1}}"<|call|>', None, ((LEON[0], '{"a": 1}'),)),
    Output("arguments without their ends", f'{HEAD}{{"a": ["b<|call|>', None, ((LEON[0], '{"a": ["b"]}'),)),
    Output("arguments that were cut", f'{HEAD}{{"a": ["b', None, ((LEON[0], '{"a": ["b'),), finish="length"),
    Output("a call that was cut before its arguments", HEAD, None, ((LEON[0], ""),), finish="length"),
    Output("a header that was cut", HEAD[:-12], None, finish="length"),
    Output("a header that ends", HEAD.partition(" <|con")[0], HEAD.partition(" <|con")[0]),
    Output("half a word of a header that was cut", "assis", None, finish="length"),
    Output("no header", "Hola.<|end|>b", "Hola.\n\nb"),
    Output("no header after the reasoning", "Hm.<|end|>Hola", "Hola", (), "Hm.", THINKING),
    Output("no channel", "<|message|>Hola", "Hola"),
    Output("an unknown channel", "<|channel|>other<|message|>Hola", "<|channel|>other<|message|>Hola"),
    Output(
        "an unknown function", f"{HEAD.replace('weather', 'no')}{{}}", f"{HEAD.replace('weather', 'no')}{{}}"
    ),
    Output("a function without tools", CALL, CALL, request=NO_TOOLS),
    Output(
        "a function that may not be called",
        CALL,
        CALL,
        request=replace(ASKED, tool_choice=ToolChoice("none")),
    ),
    Output("another role", f"{FINAL}a<|end|><|start|>user<|message|>b", "a\n\n<|start|>user<|message|>b"),
    Output("a forgotten end", f"Hm.<|start|>assistant{FINAL}a", "a", (), "Hm.", THINKING),
    Output("a header within a text", f"Hm.{FINAL}a", "a", (), "Hm.", THINKING),
    Output("a lonely tag in the reasoning", "a <|start|> b", None, (), "a <|start|> b", THINKING),
    Output("a stop string", f"{FINAL}ab STOP c", "ab ", request=replace(ASKED, stop=("STOP",))),
    Output(
        "two recipients",
        HEAD.replace("<|ch", " to=functions.get_time<|ch", 1),
        " to=functions.get_time",
        ((LEON[0], "{}"),),
    ),
)


def parts(written: str) -> list[str]:
    """The parts of the text; control tokens are parts of their own."""
    return [part for part in _TAG.split(written) if part]


@pytest.mark.parametrize("output", OUTPUTS, ids=[output.id for output in OUTPUTS])
@every_family
def test_output_becomes(family: Family, output: Output) -> None:
    for longest in (1, 3, 10**6):
        pieces = recut(family.pieces(parts(output.written)), longest)
        choice = family.read_pieces([[piece] for piece in pieces], output.request, output.finish)
        assert choice.text == output.text
        assert choice.reasoning == output.reasoning
        assert tuple((call.name, call.arguments) for call in choice.tool_calls) == output.calls


def test_a_call_that_is_the_end_finishes_with_tool_calls() -> None:
    assert HARMONY.read(parts(f"{CALL}<|call|>")).finish_reason is FinishReason.TOOL_CALLS
    assert HARMONY.read(parts(f"{FINAL}a<|return|>")).finish_reason is FinishReason.STOP
    assert HARMONY.read(parts(CALL), finish="length").finish_reason is FinishReason.LENGTH


@every_family
def test_tags_in_a_json_answer_stay_text_where_they_are_text(family: Family) -> None:
    answer = '{"a": "<|end|><|start|>assistant<|channel|>final<|message|>"}'
    written = [FINAL, answer] if family is HARMONY_TEXT else [*parts(FINAL), answer]
    assert family.read(written, JSON).text == answer


SCRAPS = [
    *HARMONY_TAGS, *HARMONY_TAGS, *sorted(HARMONY_ENDS), FINAL, ANALYSIS, COMMENTARY, HEAD, NEXT, CALL,
    "assistant", "analysis", "commentary", "final", " to=functions.get_time", " to=functions.nope", " json",
    "user", "to=",
    *MARKUP,
]  # fmt: skip
scraps = st.lists(st.sampled_from(SCRAPS) | plain_texts, max_size=20)
finishes: st.SearchStrategy[EngineFinish] = st.sampled_from(["stop", "length"])
requests = st.builds(
    replace,
    st.just(ASKED),
    mode=st.sampled_from(Mode),
    stop=st.sampled_from([(), ("STOP",)]),
    tool_choice=st.sampled_from([ToolChoice(), ToolChoice("none")]),
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


def words(text: str) -> str:
    return "".join(text.split())


@every_family
@given(written=scraps, request=requests)
def test_nothing_but_headers_and_ends_is_lost(
    family: Family, written: list[str], request: ChatRequest
) -> None:
    """What is neither shown nor an argument is a header, or a tag that ends a message."""
    request = replace(request, stop=())
    text = "".join(written)
    choice = family.read(parts(text), request)
    seen = min((text.index(end) for end in HARMONY_ENDS if end in text), default=len(text))
    left = words(text[:seen])
    shown = {
        "reasoning": words(choice.reasoning or ""),
        "text": words(choice.text or ""),
        "arguments": "".join(words(call.arguments) for call in choice.tool_calls),
    }
    # Each character is the next one of a part, or belongs to a header or to a tag that ends a message.
    header = re.compile(
        r"(?:<\|start\|>)?(?:assistant)?(?:to=functions\.get_(?:time|weather))?"
        r"(?:<\|channel\|>(?:analysis|commentary|final)(?:to=functions\.get_(?:time|weather))?(?:json)?"
        r"(?:<\|constrain\|>(?:json)?)?)?<\|message\|>|<\|end\|>"
    )
    todo, met = [(0, 0, 0, 0)], {(0, 0, 0, 0)}
    while todo:
        i, *at = todo.pop()
        if i == len(left) and all(
            left_over(part, n, name) for n, (name, part) in zip(at, shown.items(), strict=True)
        ):
            return
        for nxt in ways(left, i, at, [*shown.values()], header):
            if nxt not in met:
                met.add(nxt)
                todo.append(nxt)
    pytest.fail(f"{text!r} became {choice}")


def left_over(part: str, n: int, name: str) -> bool:
    """Whether nothing of a part is left, except what closes arguments."""
    return not part[n:].strip('"}]{') if name == "arguments" else n == len(part)


def ways(text: str, i: int, at: list[int], shown: list[str], header: re.Pattern[str]) -> Iterator[Any]:
    if found := header.match(text, i):
        yield (found.end(), *at)
    if i == len(text):
        return
    for k, part in enumerate(shown):
        if part.startswith(text[i], at[k]):
            yield (i + 1, *(n + (j == k) for j, n in enumerate(at)))
    # The parser closes arguments, and takes them out of strings; null is none at all.
    if shown[2].startswith(('"', "}", "]", "{"), at[2]):
        yield (i, at[0], at[1], at[2] + 1)
    if text[i] in '"\\':
        yield (i + 1, *at)
    if text.startswith("null", i):
        yield (i + 4, *at)


@every_family
@pytest.mark.parametrize("mode", Mode)
def test_no_part_of_a_header_is_shown_where_the_length_cuts(family: Family, mode: Mode) -> None:
    """With tags that are text, half of the tag that ends a message may have been text."""
    written = f"{COMMENTARY}Voy.{NEXT}{CALL}"
    if mode is Mode.THINKING:
        written = f"Hm.{NEXT}{written}"
    items = [item for part in parts(written) for item in ([part] if part in family.control else part)]
    for n in range(len(items) + 1):
        choice = family.read(items[:n], replace(ASKED, mode=mode), "length")
        halves = ["<|end|>"[:k] for k in range(7)] if family is HARMONY_TEXT else [""]
        assert any("Voy.".startswith((choice.text or "").removesuffix(half)) for half in halves), items[:n]
        assert any("Hm.".startswith((choice.reasoning or "").removesuffix(half)) for half in halves), items[
            :n
        ]


def test_a_header_is_read_in_a_state_of_its_own() -> None:
    parser = HARMONY.parser(THINKING)
    states: list[State] = []
    for part in parts(f"a{NEXT}{COMMENTARY}b{NEXT}{CALL}<|end|>"):
        states.append(parser.state)
        parser.feed(HARMONY.pieces([part]))
    reasoning, header, answer, call = State.REASONING, State.HEADER, State.ANSWER, State.CALL
    assert states == [
        *[reasoning] * 2, *[header] * 5, *[answer] * 2, *[header] * 7, *[call] * 2
    ]  # fmt: skip
    assert parser.state is header
    assert {state for state, events in TRANSITIONS.items() if Event.MESSAGE_ENDED in events} == {
        reasoning, answer, call
    }  # fmt: skip


def test_text_is_shown_as_it_comes() -> None:
    parser = HARMONY.parser(ASKED)
    parser.feed(HARMONY.pieces(parts(FINAL)))
    assert parser.feed(HARMONY.pieces(["Hola"]))
    assert parser.passes(", tú")
