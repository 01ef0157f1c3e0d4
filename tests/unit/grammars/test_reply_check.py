"""Finished replies are valid or fail; those cut by the length are let through."""

from collections.abc import Sequence

import pytest
from tests.in_process import InProcess

from tessera.core.chat import AnyJsonObject, ChatRequest, JsonSchema, Tool, UserMessage
from tessera.core.events import ChatEvent, Finished, FinishReason, TextDelta, ToolCallDelta, ToolCallStarted
from tessera.errors import GenerationFailed, SchemaNotMet
from tessera.formats.hermes import HERMES
from tessera.grammars.reply_check import ReplyCheck

TOOL = Tool("f", {"type": "object", "required": ["a"]}, {})
ASKED = ChatRequest((UserMessage("Hi"),), tools=(TOOL,), answer_format=AnyJsonObject())
STOP, LENGTH = Finished(0, FinishReason.STOP), Finished(0, FinishReason.LENGTH)


pytestmark = pytest.mark.anyio


def reply_check(request: ChatRequest) -> ReplyCheck:
    return ReplyCheck(request, InProcess(HERMES, {}))


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
async def test_what_was_asked_for_passes(events: list[ChatEvent]) -> None:
    check = reply_check(ASKED)
    for event in events:
        await check.feed([event])


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
async def test_what_was_not_asked_for_fails(events: list[ChatEvent], what: str) -> None:
    with pytest.raises(GenerationFailed, match=what):
        await reply_check(ASKED).feed(events)


async def test_choices_are_checked_one_by_one() -> None:
    check = reply_check(ASKED)
    await check.feed([TextDelta(0, "{}"), TextDelta(1, "{"), STOP])
    with pytest.raises(GenerationFailed):
        await check.feed([Finished(1, FinishReason.STOP)])


async def test_a_free_reply_is_not_checked() -> None:
    await reply_check(ChatRequest(())).feed([TextDelta(0, "["), STOP])


async def test_an_answer_is_checked_by_the_schema_it_was_asked_for() -> None:
    asked = ChatRequest((), answer_format=JsonSchema("x", {"type": "null"}))
    await reply_check(asked).feed([TextDelta(0, "null"), STOP])
    with pytest.raises(GenerationFailed, match="type"):
        await reply_check(asked).feed([TextDelta(0, "1"), STOP])


@pytest.mark.parametrize("strict", [True, False])
async def test_who_is_at_fault_depends_on_what_the_grammar_enforces(strict: bool) -> None:
    """An engine that disobeys may obey the next time; a rule that nothing enforces is broken again."""
    fault = GenerationFailed if strict else SchemaNotMet
    answer = ChatRequest((), answer_format=JsonSchema("x", {"not": {"type": "null"}}, strict))
    called = ChatRequest((), tools=(Tool("f", TOOL.parameters, {}, strict),))
    any_object = ChatRequest((), answer_format=AnyJsonObject())
    for asked, events, expected in (
        (answer, [TextDelta(0, "null"), STOP], fault),
        (called, [*call(["{}"]), STOP], fault),
        (any_object, [TextDelta(0, "null"), STOP], GenerationFailed),
    ):
        with pytest.raises(GenerationFailed) as failure:
            await reply_check(asked).feed(events)
        assert type(failure.value) is expected
        assert failure.value.retryable == (expected is GenerationFailed)
