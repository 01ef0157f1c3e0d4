"""A reply is the fold of its events, however they are cut."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.folding import fold

from tessera.core.events import (
    ChatEvent,
    Completed,
    Finished,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from tessera.core.generation import TokenLogprob
from tessera.core.result import CalledTool, Choice
from tessera.core.usage import Usage

A, B = TokenLogprob(1, -0.1), TokenLogprob(2, -0.2)
USAGE = Usage(prompt_tokens=5, completion_tokens=9, reasoning_tokens=2)
EVENTS: tuple[ChatEvent, ...] = (
    ReasoningDelta(0, "I think"),
    TextDelta(1, "other", (A,)),
    TextDelta(0, "Well, ", (A,)),
    ToolCallStarted(0, 0, "call_a", "f"),
    ToolCallDelta(0, 0, '{"x": 1}'),
    ToolCallStarted(0, 1, "call_b", "g"),
    ToolCallDelta(0, 1, "{}"),
    TextDelta(0, "done", (B,)),
    Finished(1, FinishReason.LENGTH),
    Finished(0, FinishReason.TOOL_CALLS),
    Completed(USAGE),
)


def test_fold_joins_each_choice() -> None:
    calls = (CalledTool("call_a", "f", '{"x": 1}'), CalledTool("call_b", "g", "{}"))
    reply = fold(EVENTS)
    assert reply.usage == USAGE
    assert reply.choices == (
        Choice(0, "Well, done", "I think", calls, (A, B), FinishReason.TOOL_CALLS),
        Choice(1, "other", None, (), (A,), FinishReason.LENGTH),
    )


def split(event: ChatEvent, at: int) -> list[ChatEvent]:
    """Splits the event in two; the logprobs stay with the end of the text."""
    match event:
        case TextDelta():
            return [
                replace(event, text=event.text[:at], logprobs=()),
                replace(event, text=event.text[at:]),
            ]
        case ReasoningDelta():
            return [replace(event, text=event.text[:at]), replace(event, text=event.text[at:])]
        case ToolCallDelta():
            return [
                replace(event, arguments=event.arguments[:at]),
                replace(event, arguments=event.arguments[at:]),
            ]
        case _:
            return [event]


@given(st.lists(st.integers(0, 9), min_size=len(EVENTS), max_size=len(EVENTS)))
def test_fold_of_any_split_is_the_same(cuts: list[int]) -> None:
    assert fold(part for event, at in zip(EVENTS, cuts, strict=True) for part in split(event, at)) == fold(
        EVENTS
    )


@pytest.mark.parametrize("events", [(), (TextDelta(0, ""), ReasoningDelta(0, ""))])
def test_nothing_shown_is_none(events: tuple[ChatEvent, ...]) -> None:
    choice = fold([*events, Finished(0, FinishReason.STOP)]).choices[0]
    assert (choice.text, choice.reasoning, choice.tool_calls) == (None, None, ())
