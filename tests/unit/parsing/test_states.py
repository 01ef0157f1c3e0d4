"""Every transition of the parser's table happens, and no other can."""

from dataclasses import dataclass

import pytest
from tests.families import ASKED, HARMONY_TEXT, JSON_TEXT, THINKING, XML_TEXT, Family

from tessera.core.chat import ChatRequest, Mode
from tessera.formats.qwen3 import QWEN3
from tessera.parsing.between_calls import AnswerReader, ReasoningReader
from tessera.parsing.parser import Parser
from tessera.parsing.states import TRANSITIONS, Event, State, Turn
from tessera.parsing.syntax import Tags
from tessera.text.pieces import TextPiece

CALL = "<tool_call>\n<function=get_weather>\n"
NAMED = f"{CALL}<parameter=city"
FINAL = "<|channel|>final<|message|>"
TO = "<|channel|>commentary to=functions.get_weather<|message|>"


@dataclass(frozen=True)
class Case:
    before: State
    event: Event
    after: State
    begun: str
    then: str
    thinking: bool = False
    family: Family = XML_TEXT


CASES = (
    Case(State.REASONING, Event.REASONING_CLOSED, State.ANSWER, "Hm", "</think>", thinking=True),
    Case(State.REASONING, Event.CALL_CONFIRMED, State.CALL, "Hm", CALL, thinking=True),
    Case(State.ANSWER, Event.REASONING_OPENED, State.REASONING, "\n", "<think>"),
    Case(State.ANSWER, Event.ANSWER_BEGUN, State.ANSWER, "\n", "Hello <think>"),
    Case(State.ANSWER, Event.CALL_CONFIRMED, State.CALL, "Hello", CALL),
    Case(State.CALL, Event.CALL_ENDED, State.ANSWER, CALL, "</function>"),
    Case(State.CALL, Event.PARAMETER_OPENED, State.PARAMETER_NAME, CALL, "<parameter=c"),
    Case(State.PARAMETER_NAME, Event.PARAMETER_NAMED, State.PARAMETER_VALUE, NAMED, ">\nLe"),
    Case(State.PARAMETER_NAME, Event.PARAMETER_DROPPED, State.CALL, NAMED, "\n"),
    Case(State.PARAMETER_VALUE, Event.VALUE_ENDED, State.CALL, NAMED + ">\nLe", "</parameter><parameter=x\n"),
    Case(
        State.PARAMETER_VALUE,
        Event.PARAMETER_NAMED,
        State.PARAMETER_VALUE,
        NAMED + ">\nLe",
        "\n<parameter=days>\n3",
    ),
    Case(State.REASONING, Event.MESSAGE_ENDED, State.HEADER, "Hm", "<|end|>", True, HARMONY_TEXT),
    Case(State.ANSWER, Event.MESSAGE_ENDED, State.HEADER, f"{FINAL}a", "<|end|>", family=HARMONY_TEXT),
    Case(State.CALL, Event.MESSAGE_ENDED, State.HEADER, TO, "{}<|end|>", family=HARMONY_TEXT),
    Case(
        State.HEADER,
        Event.REASONING_OPENED,
        State.REASONING,
        "<|channel|>analysis",
        "<|message|>",
        family=HARMONY_TEXT,
    ),
    Case(
        State.HEADER, Event.ANSWER_BEGUN, State.ANSWER, "<|channel|>", "final<|message|>", family=HARMONY_TEXT
    ),
    Case(State.HEADER, Event.CALL_CONFIRMED, State.CALL, TO[:-1], ">", family=HARMONY_TEXT),
)


def parser(case: Case) -> Parser:
    request = THINKING if case.thinking else ASKED
    return Parser(0, request, case.family.format.syntax, (), lambda: "call_1")


@pytest.mark.parametrize("case", CASES, ids=[f"{case.before.name}-{case.event.name}" for case in CASES])
def test_text_changes_the_state_as_the_table_says(case: Case) -> None:
    assert TRANSITIONS[case.before][case.event] is case.after
    reading = parser(case)
    reading.feed([TextPiece(case.begun)])
    assert reading.state is case.before
    reading.feed([TextPiece(case.then)])
    assert reading.state is case.after


def test_every_transition_has_a_case() -> None:
    assert {(case.before, case.event) for case in CASES} == {
        (state, event) for state, events in TRANSITIONS.items() for event in events
    }


def test_what_may_open_a_call_changes_no_state_until_it_is_decided() -> None:
    reading = Parser(0, ASKED, JSON_TEXT.format.syntax, (), lambda: "call_1")
    states: list[State] = []
    for text in ("Hi. <tool_call>", '{"name": "get_weat', 'her", ', '"arguments": {}}'):
        reading.feed([TextPiece(text)])
        states.append(reading.state)
    assert states == [State.ANSWER, State.ANSWER, State.CALL, State.ANSWER]


def test_a_way_that_the_table_does_not_have_is_refused() -> None:
    turn = Turn(0, ChatRequest(messages=(), mode=Mode.DIRECT), QWEN3.syntax, (), lambda: "call_1")
    turn.begin(AnswerReader(turn))
    with pytest.raises(RuntimeError, match="CALL_ENDED"):
        turn.move(Event.CALL_ENDED, AnswerReader(turn))
    with pytest.raises(RuntimeError, match="REASONING_OPENED"):
        turn.move(Event.REASONING_OPENED, AnswerReader(turn))
    turn.move(Event.REASONING_OPENED, ReasoningReader(turn, Tags("<think>", "</think>")))
    assert turn.reader.state is State.REASONING
