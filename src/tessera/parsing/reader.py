"""Turns engine chunks into events: a detokenizer and a parser for each choice, and the counts of tokens."""

import secrets
import string
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

from tessera.core.chat import ChatRequest
from tessera.core.events import ChatEvent, Completed, Finished, ReasoningDelta, TextDelta, ToolCallDelta
from tessera.core.generation import EngineFinish, TokenChunk
from tessera.core.record import Tally
from tessera.parsing.loops import LoopDetector
from tessera.parsing.parser import Parser
from tessera.parsing.states import State
from tessera.parsing.syntax import Syntax
from tessera.text.detokenizer import Detokenizer
from tessera.text.tokenizer import Tokenizer

_Event = TypeVar("_Event")
# Looking up a member of an enumeration takes long, and this one is compared for every token.
_REASONING = State.REASONING
_ALPHANUMERIC = string.ascii_letters + string.digits


def new_call_id() -> str:
    """`call_` and 24 random letters and digits."""
    return "call_" + "".join(secrets.choice(_ALPHANUMERIC) for _ in range(24))


@dataclass(slots=True)
class _ChoiceReader:
    detokenizer: Detokenizer
    parser: Parser
    loops: LoopDetector | None
    finished: bool = False


class ReplyReader:
    """Reads all choices of one reply.

    The events do not depend on how the engine cuts a choice into chunks: tokens are read one by one, and
    those after a stop string, or after a loop was noticed, are neither read nor counted.
    """

    def __init__(
        self,
        request: ChatRequest,
        syntax: Syntax,
        tokenizer: Tokenizer,
        tally: Tally,
        new_call_id: Callable[[], str] = new_call_id,
        *,
        loop_tokens: int = 0,
    ) -> None:
        """`tally` already has the tokens of the prompt; all others are counted into it. A choice whose last
        `loop_tokens` tokens repeat one block ends by `length`; 0 lets it go on.
        """
        control = tokenizer.control_tokens
        self._choices = [
            _ChoiceReader(
                Detokenizer(tokenizer),
                Parser(choice, request, syntax, control, new_call_id),
                LoopDetector(loop_tokens) if loop_tokens else None,
            )
            for choice in range(request.n)
        ]
        self._n_open = request.n
        self._tally = tally

    @property
    def done(self) -> bool:
        """Whether all choices have finished, so that the engine may stop."""
        return not self._n_open

    def feed(self, chunk: TokenChunk) -> tuple[ChatEvent, ...]:
        """The events of what the engine added. Deltas that continue one another are joined."""
        if chunk.cached_tokens:
            self._tally.cached_tokens = chunk.cached_tokens
        choice = self._choices[chunk.sequence]
        if choice.loops is not None:
            chunk = _ended_in_loop(choice, choice.loops, chunk)
        if not (chunk.logprobs or chunk.finish or choice.finished):
            # The common case: text that can be shown as it is.
            text = choice.detokenizer.plain(chunk.token_ids)
            if text and choice.parser.passes(text):
                self._tally.completion_tokens += len(chunk.token_ids)
                return (TextDelta(chunk.sequence, text),)
        events = self._read(choice, chunk)
        return tuple(events if len(events) < 2 else _joined(events))

    def complete(self) -> tuple[ChatEvent, ...]:
        """The last event, once all choices are done."""
        return (Completed(self._tally.usage),)

    def _read(self, choice: _ChoiceReader, chunk: TokenChunk) -> list[ChatEvent]:
        detokenizer = choice.detokenizer
        parser = choice.parser
        tally = self._tally
        events: list[ChatEvent] = []
        for i, token_id in enumerate(chunk.token_ids):
            if choice.finished:
                return events
            tally.completion_tokens += 1
            tally.reasoning_tokens += parser.state is _REASONING
            logprob = chunk.logprobs[i] if chunk.logprobs else None
            events += parser.feed(detokenizer.feed(token_id, logprob))
            if parser.stopped:
                events += self._finish(choice, "stop")
        if chunk.finish and not choice.finished:
            if chunk.finish == "stop":
                events += parser.feed(detokenizer.flush())
            events += self._finish(choice, chunk.finish)
        return events

    def _finish(self, choice: _ChoiceReader, finish: EngineFinish) -> list[ChatEvent]:
        choice.finished = True
        self._n_open -= 1
        events = choice.parser.finish(finish)
        self._tally.finished |= {e.choice: e.reason for e in events if isinstance(e, Finished)}
        return events


def _ended_in_loop(choice: _ChoiceReader, loops: LoopDetector, chunk: TokenChunk) -> TokenChunk:
    """The chunk, or the beginning of it that ends the choice because it was found to repeat itself."""
    if choice.finished or (end := loops.feed(chunk.token_ids)) is None:
        return chunk
    if end == len(chunk.token_ids) and chunk.finish:
        return chunk
    return TokenChunk(
        chunk.sequence, chunk.token_ids[:end], "length", chunk.cached_tokens, chunk.logprobs[:end]
    )


def _joined(events: Iterable[ChatEvent]) -> Iterator[ChatEvent]:
    """The events, with neighbours that continue one another joined."""
    for _, group in groupby(events, _continued):
        yield _join([*group])


def _continued(event: ChatEvent) -> tuple[type, int]:
    match event:
        case ToolCallDelta():
            return type(event), event.call
        case ReasoningDelta() | TextDelta():
            return type(event), 0
        case _:
            return type(event), id(event)


def _join(events: list[ChatEvent]) -> ChatEvent:
    match events[0]:
        case ReasoningDelta(choice):
            return ReasoningDelta(choice, "".join(each.text for each in _of(ReasoningDelta, events)))
        case TextDelta(choice):
            deltas = _of(TextDelta, events)
            logprobs = tuple(logprob for each in deltas for logprob in each.logprobs)
            return TextDelta(choice, "".join(each.text for each in deltas), logprobs)
        case ToolCallDelta(choice, call):
            written = "".join(each.arguments for each in _of(ToolCallDelta, events))
            return ToolCallDelta(choice, call, written)
        case event:
            return event


def _of(kind: type[_Event], events: list[ChatEvent]) -> list[_Event]:
    return [event for event in events if isinstance(event, kind)]
