"""The connection to a worker, and the chunks of each generation on their way from it to a reader."""

import asyncio
import itertools
from typing import assert_never, cast

from tessera.core.generation import Prompt, Sampling, TokenChunk
from tessera.engine.openvino.frames import (
    FROM_WORKER,
    Abort,
    FrameError,
    FrameReader,
    Gauges,
    Hello,
    Step,
    Submit,
    pack,
)
from tessera.errors import EngineUnavailable, GenerationFailed

RETRY_AFTER_S = 5.0


def unavailable(reason: str | None) -> EngineUnavailable:
    """What callers are told while `Engine.unready` gives this reason."""
    return EngineUnavailable(
        f"The engine is not available ({reason}). Try again.", retry_after_s=RETRY_AFTER_S
    )


class Inbox:
    """What has arrived for one generation and was not taken yet, by sequence."""

    def __init__(self) -> None:
        self._waiting: dict[int, list[TokenChunk]] = {}
        self._error: Exception | None = None
        self._arrived = asyncio.Event()

    def put(self, chunk: TokenChunk) -> None:
        """Never blocks: what can pile up is bounded by the tokens of the generation."""
        self._waiting.setdefault(chunk.sequence, []).append(chunk)
        self._arrived.set()

    def fail(self, error: Exception) -> None:
        """Nothing more will arrive."""
        self._error = error
        self._arrived.set()

    async def take(self) -> list[TokenChunk]:
        """At least one chunk, at most one of each sequence; an error comes after what preceded it."""
        await self._arrived.wait()
        if self._waiting:
            taken, self._waiting = self._waiting, {}
            if self._error is None:
                self._arrived.clear()
            return [_merged(chunks) for chunks in taken.values()]
        assert self._error is not None
        raise self._error


def _merged(chunks: list[TokenChunk]) -> TokenChunk:
    """Consecutive chunks of one sequence as one."""
    if len(chunks) == 1:
        return chunks[0]
    return TokenChunk(
        chunks[0].sequence,
        tuple(itertools.chain.from_iterable(chunk.token_ids for chunk in chunks)),
        chunks[-1].finish,
        chunks[0].cached_tokens,
        tuple(itertools.chain.from_iterable(chunk.logprobs for chunk in chunks)),
    )


class Link(asyncio.Protocol):
    """The connection to a worker; `ready` is done with its greeting, or fails with the connection."""

    def __init__(self) -> None:
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.greeting: Hello | None = None
        self.gauges: Gauges = {}
        self.lost = False
        self._reader = FrameReader(FROM_WORKER)
        self._ids = itertools.count()
        self._inboxes: dict[int, Inbox] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast(asyncio.WriteTransport, transport)

    # asyncio passes it by position, whatever its name.
    def data_received(self, received: bytes) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """See `asyncio.Protocol`."""
        try:
            frames = self._reader.feed(received)
        except FrameError:
            self.abandon()
            return
        for frame in frames:
            self.gauges = frame.gauges
            match frame:
                case Hello():
                    self.greeting = frame
                    if not self.ready.done():
                        self.ready.set_result(None)
                case Step():
                    self._distribute(frame)
                case _:
                    assert_never(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        """Whatever the reason, the worker is lost to us: all generations fail."""
        self.lost = True
        self.gauges = {}
        if not self.ready.done():
            self.ready.set_exception(unavailable("engine_dead"))
        inboxes, self._inboxes = self._inboxes, {}
        for inbox in inboxes.values():
            inbox.fail(unavailable("engine_dead"))

    def submit(self, prompt: Prompt, sampling: Sampling) -> tuple[int, Inbox]:
        """Begin a generation; its chunks go to the inbox."""
        id, inbox = next(self._ids), Inbox()
        self._transport.write(pack(Submit(id, prompt, sampling)))
        self._inboxes[id] = inbox
        return id, inbox

    def close(self, id: int, finished: bool) -> None:
        """Forget a generation, and have it aborted if it did not end by itself."""
        if self._inboxes.pop(id, None) is not None and not finished:
            self._transport.write(pack(Abort(id)))

    def abandon(self) -> None:
        """Cut the connection."""
        self._transport.abort()

    def _distribute(self, step: Step) -> None:
        for id, chunk in step.chunks:
            if inbox := self._inboxes.get(id):
                inbox.put(chunk)
        for id, message in step.failures:
            if inbox := self._inboxes.pop(id, None):
                inbox.fail(GenerationFailed(message))
