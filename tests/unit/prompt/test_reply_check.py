"""Finished replies are valid or fail; those cut by the length are let through."""

from collections.abc import Sequence

import pytest

from tessera.core.chat import AnyJsonObject, ChatRequest, Tool, UserMessage
from tessera.core.events import ChatEvent, Finished, FinishReason, TextDelta, ToolCallDelta, ToolCallStarted
from tessera.errors import GenerationFailed
from tessera.prompt.reply_check import ReplyCheck
from tessera.prompt.validation import NO_VALIDATORS, reply_validators

TOOL = Tool("f", {"type": "object", "required": ["a"]}, {})
ASKED = ChatRequest((UserMessage("Hi"),), tools=(TOOL,), answer_format=AnyJsonObject())
STOP, LENGTH = Finished(0, FinishReason.STOP), Finished(0, FinishReason.LENGTH)


def call(arguments: Sequence[str]) -> list[ChatEvent]:
    return [ToolCallStarted(0, 0, "call_1", "f"), *(ToolCallDelta(0, 0, part) for part in arguments)]


@pytest.mark.parametrize(
    "events",
    [
        [TextDelta(0, '{"b"'), TextDelta(0, ": 1}"), STOP],
        [TextDelta(0, '{"b"'), LENGTH],
        [*call(['{"a"', ": 1}"]), Finished(0, FinishReason.TOOL_CALLS)],
        [*call(['{"a"']), LENGTH],
    ],
    ids=str,
)
def test_what_was_asked_for_passes(events: list[ChatEvent]) -> None:
    check = ReplyCheck(reply_validators(ASKED))
    for event in events:
        check.feed([event])


@pytest.mark.parametrize(
    ("events", "what"),
    [
        ([TextDelta(0, "[]"), STOP], "The answer"),
        ([TextDelta(0, '{"b"'), STOP], "not JSON"),
        ([STOP], "The answer"),
        ([*call(["{}"]), Finished(0, FinishReason.TOOL_CALLS)], "a call to f"),
        ([*call(["{}"]), STOP], "a call to f"),
    ],
    ids=str,
)
def test_what_was_not_asked_for_fails(events: list[ChatEvent], what: str) -> None:
    with pytest.raises(GenerationFailed, match=what):
        ReplyCheck(reply_validators(ASKED)).feed(events)


def test_choices_are_checked_one_by_one() -> None:
    check = ReplyCheck(reply_validators(ASKED))
    check.feed([TextDelta(0, "{}"), TextDelta(1, "{"), STOP])
    with pytest.raises(GenerationFailed):
        check.feed([Finished(1, FinishReason.STOP)])


def test_a_free_reply_is_not_checked() -> None:
    ReplyCheck(NO_VALIDATORS).feed([TextDelta(0, "["), STOP])
