"""A whole reply is the fold of its events: the one path from a stream to a completion."""

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


class ReplyFold:
    """Joins the events of one reply as they come. All of them must be added, in order."""

    def __init__(self) -> None:
        self._drafts: dict[int, _Draft] = {}
        self._usage = Usage()

    def add(self, event: ChatEvent) -> None:
        match event:
            case Completed():
                self._usage = event.usage
            case ReasoningDelta():
                self._draft(event.choice).reasoning.append(event.text)
            case TextDelta():
                draft = self._draft(event.choice)
                draft.text.append(event.text)
                draft.logprobs.extend(event.logprobs)
            case ToolCallStarted():
                self._draft(event.choice).calls.append((event.id, event.name, []))
            case ToolCallDelta():
                self._draft(event.choice).calls[event.call][2].append(event.arguments)
            case Finished():
                self._draft(event.choice).reason = event.reason
            case _:
                assert_never(event)

    def reply(self) -> Reply:
        return Reply(tuple(self._drafts[index].choice(index) for index in sorted(self._drafts)), self._usage)

    def _draft(self, choice: int) -> _Draft:
        return self._drafts.setdefault(choice, _Draft())
