"""A whole reply is the fold of its events: the one path from a stream to a completion."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import assert_never

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
from tessera.core.usage import Usage


@dataclass(frozen=True, slots=True)
class CalledTool:
    """A call of the reply; `arguments` is JSON text, cut short only when the choice ended by `length`."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Choice:
    """One alternative of the reply. `text` and `reasoning` are None when there was none."""

    index: int
    text: str | None
    reasoning: str | None
    tool_calls: tuple[CalledTool, ...]
    logprobs: tuple[TokenLogprob, ...]
    finish_reason: FinishReason


@dataclass(frozen=True, slots=True)
class Reply:
    """All choices, by index, and the usage of the request."""

    choices: tuple[Choice, ...]
    usage: Usage


@dataclass(slots=True)
class _Draft:
    text: list[str] = field(default_factory=list[str])
    reasoning: list[str] = field(default_factory=list[str])
    calls: list[tuple[str, str, list[str]]] = field(default_factory=list[tuple[str, str, list[str]]])
    logprobs: list[TokenLogprob] = field(default_factory=list[TokenLogprob])
    reason: FinishReason = FinishReason.STOP

    def choice(self, index: int) -> Choice:
        calls = tuple(CalledTool(id, name, "".join(parts)) for id, name, parts in self.calls)
        text = "".join(self.text) or None
        reasoning = "".join(self.reasoning) or None
        return Choice(index, text, reasoning, calls, tuple(self.logprobs), self.reason)


def fold(events: Iterable[ChatEvent]) -> Reply:
    """Joins the events of one reply, which must be complete and in order."""
    drafts: dict[int, _Draft] = {}
    usage = Usage()
    for event in events:
        match event:
            case Completed():
                usage = event.usage
            case ReasoningDelta():
                drafts.setdefault(event.choice, _Draft()).reasoning.append(event.text)
            case TextDelta():
                draft = drafts.setdefault(event.choice, _Draft())
                draft.text.append(event.text)
                draft.logprobs.extend(event.logprobs)
            case ToolCallStarted():
                drafts.setdefault(event.choice, _Draft()).calls.append((event.id, event.name, []))
            case ToolCallDelta():
                drafts[event.choice].calls[event.call][2].append(event.arguments)
            case Finished():
                drafts.setdefault(event.choice, _Draft()).reason = event.reason
            case _:
                assert_never(event)
    return Reply(tuple(drafts[index].choice(index) for index in sorted(drafts)), usage)
