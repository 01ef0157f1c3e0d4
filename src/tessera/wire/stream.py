"""Writes a reply as OpenAI's stream: events become SSE frames.

Most of a frame is the same for the whole stream and is encoded once: a frame is a prefix for each choice, the
delta, and a suffix. Only the text of the delta is JSON-encoded for each event.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import assert_never

import msgspec

from tessera.core.events import (
    ChatEvent,
    Completed,
    Finished,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from tessera.core.generation import TokenLogprob
from tessera.errors import TesseraError
from tessera.wire.reply import Header, encode_error, fingerprint, usage_counts
from tessera.wire.scores import ScoreWriter, Spelling, logprobs_object

# No blank line: some decoders, older Go clients among them, take it for the end of an empty event.
KEEP_ALIVE = b": keep-alive\n"
DONE = b"data: [DONE]\n\n"

_json = msgspec.json.Encoder().encode


class ChunkWriter:
    """Writes the frames of one stream."""

    def __init__(self, header: Header, spell: Spelling, *, include_usage: bool = False) -> None:
        """`spell` returns the bytes of a token, for logprobs."""
        fields = {
            "id": header.id,
            "object": "chat.completion.chunk",
            "created": header.created_s,
            "model": header.model,
            "system_fingerprint": fingerprint(header.model),
        }
        self._head = b"data: " + _json(fields)[:-1] + b',"choices":['
        self._tail = b'],"usage":null}\n\n' if include_usage else b"]}\n\n"
        self._running = b'},"logprobs":null,"finish_reason":null}' + self._tail
        self._starts: dict[int, bytes] = {}
        self._text_starts: dict[int, bytes] = {}
        self._spell = spell
        self._include_usage = include_usage

    @cached_property
    def _scores(self) -> ScoreWriter:
        return ScoreWriter(self._spell)

    def write(self, events: Sequence[ChatEvent]) -> bytes:
        """The frames of the events, joined. Those of `Completed` end the stream."""
        if len(events) == 1:
            return self._frame(events[0])
        return b"".join(map(self._frame, events))

    def _frame(self, event: ChatEvent) -> bytes:
        match event:
            case TextDelta():
                text = _json(event.text)
                start = self._text_starts.get(event.choice)
                if start and not event.logprobs:  # the common case
                    return b"".join((start, text, self._running))
                return self._delta(event.choice, b'"content":' + text, event.logprobs)
            case ReasoningDelta():
                text = _json(event.text)
                return self._delta(event.choice, b'"reasoning_content":' + text + b',"reasoning":' + text)
            case ToolCallDelta():
                function = b'"function":{"arguments":' + _json(event.arguments) + b"}"
                return self._delta(event.choice, _call(event.call, function))
            case ToolCallStarted():
                function = b'"function":{"name":' + _json(event.name) + b',"arguments":""}'
                opened = b'"id":' + _json(event.id) + b',"type":"function",' + function
                return self._delta(event.choice, _call(event.call, opened))
            case Finished():
                finish = b'},"logprobs":null,"finish_reason":"' + event.reason.value.encode() + b'"}'
                return self._start(event.choice, b"") + finish + self._tail
            case Completed():
                if not self._include_usage:
                    return DONE
                counts = _json(usage_counts(event.usage))
                return self._head + b'],"usage":' + counts + b"}\n\n" + DONE
            case _:
                assert_never(event)

    def _delta(self, choice: int, delta: bytes, logprobs: tuple[TokenLogprob, ...] = ()) -> bytes:
        start = self._start(choice, delta)
        if not logprobs:
            return start + self._running
        scored = logprobs_object(self._scores.write(logprobs))
        return start + b'},"logprobs":' + scored + b',"finish_reason":null}' + self._tail

    def _start(self, choice: int, delta: bytes) -> bytes:
        """A frame up to the end of its delta. The first one of each choice has the role."""
        start = self._starts.get(choice)
        if start is not None:
            return start + delta
        start = self._starts[choice] = self._head + b'{"index":%d,"delta":{' % choice
        self._text_starts[choice] = start + b'"content":'
        role = (
            b'"role":"assistant"' if delta.startswith(b'"content"') else b'"role":"assistant","content":null'
        )
        return start + role + (b"," + delta if delta else b"")


def error_frame(error: TesseraError) -> bytes:
    """The last frame of a stream that failed; no `[DONE]` follows it."""
    return b"data: " + encode_error(error) + b"\n\n"


def _call(index: int, rest: bytes) -> bytes:
    return b'"tool_calls":[{"index":%d,' % index + rest + b"}]"
