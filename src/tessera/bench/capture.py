"""What arrived on a connection: kept as it is, and parsed only after the measurement."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from tessera.bench.sample import Failure, Outcome, Sample
from tessera.bench.sse import EventReader, ResponseReader


class _StreamDelta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[msgspec.Raw] | None = None

    @property
    def says_something(self) -> bool:
        return bool(self.content or self.reasoning_content or self.reasoning or self.tool_calls)


class _StreamChoice(msgspec.Struct):
    delta: _StreamDelta = msgspec.field(default_factory=_StreamDelta)
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    completion_tokens: int
    prompt_tokens: int | None = None


class _Problem(msgspec.Struct):
    message: str = ""
    code: str | int | None = None
    type: str | None = None

    @property
    def kind(self) -> str:
        """The most specific name of the error: some servers put the status in place of its code."""
        return self.code if isinstance(self.code, str) else self.type or ""


class _StreamChunk(msgspec.Struct):
    choices: list[_StreamChoice] = []
    usage: _Usage | None = None
    error: _Problem | str | None = None


_chunk = msgspec.json.Decoder(_StreamChunk).decode


@dataclass(frozen=True, slots=True)
class Capture:
    """One exchange: `blocks[i]` arrived at `times[i]`. All times are of `time.perf_counter`.

    `problem` says why there is no more, if the end of the response is not the reason.
    """

    begun: float
    times: Sequence[float]
    blocks: Sequence[bytes]
    ended: float
    problem: str | None = None

    @property
    def failed(self) -> bool:
        """Whether the first line alone says so."""
        return self.problem is not None or not self.blocks or b" 200" not in self.blocks[0][:12]

    def outcome(self) -> Outcome:
        """The reply's figures, or why there are none."""
        try:
            return self._read()
        except (ValueError, msgspec.DecodeError) as error:
            return Failure("not understood", str(error))

    def whole(self) -> tuple[int | None, bytes]:
        """Status and body of a response that is no stream. Raises `ValueError`."""
        reader = ResponseReader()
        body = b"".join(map(reader.feed, self.blocks))
        return reader.head.status if reader.head else None, body

    def _read(self) -> Outcome:
        response, events, stream = ResponseReader(), EventReader(), _Stream(self.begun)
        for at, block in zip(self.times, self.blocks, strict=True):
            for event in events.feed(response.feed(block)):
                stream.take(at, event)
        status = response.head.status if response.head else None
        if status is not None and status != 200:
            return _refusal(status, self.whole()[1])
        if stream.error is not None:
            return Failure(f"stream: {stream.error.kind or 'error'}", stream.error.message, status)
        if self.problem:
            return Failure(self.problem, self.problem, status)
        if not stream.complete:
            whole = not stream.n_events and self.whole()[1].startswith(b"{")
            said = f"The response ended after {stream.n_events} events."
            return Failure("not a stream" if whole else "cut off", said, status)
        return stream.sample((self.times[-1] if self.times else self.ended) - self.begun)


class _Stream:
    """The events of one reply."""

    def __init__(self, begun: float) -> None:
        self.error: _Problem | None = None
        self.complete = False
        self.n_events = 0
        self._begun = begun
        self._times_s: list[float] = []
        self._usage: _Usage | None = None

    def take(self, at: float, event: bytes) -> None:
        self.n_events += 1
        if event == b"[DONE]":
            self.complete = True
            return
        chunk = _chunk(event)
        if chunk.error is not None:
            self.error = _Problem(chunk.error) if isinstance(chunk.error, str) else chunk.error
        self._usage = chunk.usage or self._usage
        if any(choice.delta.says_something for choice in chunk.choices):
            self._times_s.append(at - self._begun)
        self.complete = self.complete or any(choice.finish_reason for choice in chunk.choices)

    def sample(self, total_s: float) -> Sample:
        times_s = tuple(self._times_s)
        if self._usage is None:
            return Sample(times_s, total_s, len(times_s), "events")
        return Sample(times_s, total_s, self._usage.completion_tokens, "usage", self._usage.prompt_tokens)


def _refusal(status: int, body: bytes) -> Failure:
    problem: _Problem | str | None = None
    with suppress(msgspec.DecodeError):
        problem = _chunk(body).error
    if not isinstance(problem, _Problem):
        problem = _Problem(problem or body[:300].decode(errors="replace").strip())
    return Failure(f"{status} {problem.kind}".strip(), problem.message or f"status {status}", status)
