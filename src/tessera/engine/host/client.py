"""An engine whose core runs in a process of its own, as the service sees it.

Several processes of the service may share the engine. Its process can die at any time; its owner restarts it,
at the same path. A generation of which nothing has arrived yet does not notice: it is submitted again, in its
turn. One that has begun fails.
"""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, TypeAlias, assert_never

from tessera.core.generation import EngineInfo, Prompt, Sampling, TokenChunk
from tessera.engine.host.frames import Abort, FromWorker, Gauges, Hello, Step, Submit, pack
from tessera.engine.host.inbox import Inbox
from tessera.engine.host.link import Link
from tessera.errors import (
    ContextLengthExceeded,
    EngineUnavailable,
    GenerationFailed,
    GrammarFailed,
    GrammarTooSlow,
    TesseraError,
    UnsupportedParameter,
)

Reason: TypeAlias = Literal["engine_starting", "engine_dead", "engine_closed"]

MOST_DEATHS = 2
"""After so many deaths a generation that has not begun is given up: it may be why the engine dies."""

# Failures that the same request would meet again; all others are `GenerationFailed`.
_FINAL: dict[str | None, type[TesseraError]] = {
    kind.default_code: kind
    for kind in (ContextLengthExceeded, GrammarFailed, GrammarTooSlow, UnsupportedParameter)
}

RECONNECT_S = 0.1
RETRY_AFTER_S = 5.0


def unavailable(reason: Reason) -> EngineUnavailable:
    """The error of requests while `Engine.unready` gives this reason."""
    return EngineUnavailable(
        f"The engine is not available ({reason}). Try again.", retry_after_s=RETRY_AFTER_S
    )


@dataclass(slots=True, eq=False)
class _Submission:
    """`submission` is the frame that asks for it; `n_deaths` workers have died since they got it."""

    submission: bytes
    inbox: Inbox
    n_deaths: int = 0

    @property
    def is_lost(self) -> bool:
        """After the death of a worker: whether the next one will not try it."""
        return self.inbox.begun or self.n_deaths >= MOST_DEATHS


class HostedEngine:
    """An `Engine` that computes in a process which listens at a path."""

    def __init__(self, path: str, served: EngineInfo) -> None:
        """Nothing happens before `start` or `connect`. `served` is what the process is expected to serve."""
        self._path = path
        self._info = served
        self._gauges: Gauges = {}
        self._reason: Reason | None = "engine_starting"
        self._settled = asyncio.Event()
        self._link: Link | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._ids = itertools.count()
        self._generations: dict[int, _Submission] = {}

    @property
    def info(self) -> EngineInfo:
        """What is expected; after the first connection, what the worker has said last."""
        return self._info

    @property
    def gauges(self) -> Mapping[str, int]:
        """The last ones that the worker sent; empty while there is no connection."""
        return self._gauges

    def unready(self) -> Reason | None:
        """None, `engine_starting`, `engine_dead` until the restart is done, or `engine_closed`."""
        if self._reason is None and (self._link is None or self._link.lost.done()):
            return "engine_dead"
        return self._reason

    def connect(self) -> None:
        """Connects in the background, again and again, until the engine is closed."""
        if self._connecting is None and self._reason != "engine_closed":
            self._connecting = asyncio.create_task(self._stay_connected())

    async def start(self) -> None:
        """Connects; returns when the engine is ready."""
        self.connect()
        await self.ready()

    async def ready(self) -> None:
        """Returns when there is a connection; raises `EngineUnavailable` if the engine is closed first."""
        await self._settled.wait()
        if self._reason == "engine_closed":
            raise unavailable(self._reason)

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[TokenChunk]:
        """Chunks that wait for a slow reader reach it merged."""
        if self._reason == "engine_closed":
            raise unavailable(self._reason)
        id, inbox = self._submit(prompt, sampling)
        n_unfinished = sampling.n
        try:
            while n_unfinished:
                for chunk in await inbox.take():
                    n_unfinished -= chunk.finish is not None
                    yield chunk
        finally:
            self._forget(id, finished=not n_unfinished)

    async def aclose(self) -> None:
        """Ends the connection and all generations."""
        self._reason = "engine_closed"
        self._gauges = {}
        self._settled.set()
        if self._connecting:
            self._connecting.cancel()
            await asyncio.wait({self._connecting})
        self._fail(list(self._generations))

    async def _stay_connected(self) -> None:
        while True:
            link = self._link = Link(self._receive)
            try:
                with suppress(OSError):  # its owner does not run yet
                    await link.open(self._path)
                    await link.lost
            finally:
                link.cut()
            self._lose()
            await asyncio.sleep(RECONNECT_S)

    def _receive(self, frame: FromWorker) -> None:
        self._gauges = frame.gauges
        match frame:
            case Hello():
                self._info, self._reason = frame.served, None
                for generation in self._generations.values():
                    self._send(generation.submission)
                self._settled.set()
            case Step():
                self._distribute(frame)
            case _:
                assert_never(frame)

    def _distribute(self, step: Step) -> None:
        for id, chunk in step.chunks:
            if generation := self._generations.get(id):
                generation.inbox.put(chunk)
        for failed in step.failures:
            if generation := self._generations.pop(failed.id, None):
                kind = _FINAL.get(failed.code, GenerationFailed)
                generation.inbox.fail(kind(failed.message))

    def _lose(self) -> None:
        """Fails the generations that have begun; the others wait for the next worker."""
        if self._reason is not None:
            return
        self._reason = "engine_dead"
        self._gauges = {}
        self._settled.clear()
        for generation in self._generations.values():
            generation.n_deaths += 1
        self._fail([id for id, generation in self._generations.items() if generation.is_lost])

    def _fail(self, ids: list[int]) -> None:
        for id in ids:
            self._generations.pop(id).inbox.fail(unavailable(self._reason or "engine_dead"))

    def _submit(self, prompt: Prompt, sampling: Sampling) -> tuple[int, Inbox]:
        id, inbox = next(self._ids), Inbox()
        submission = pack(Submit(id, prompt, sampling))
        self._generations[id] = _Submission(submission, inbox)
        if self._reason is None:
            self._send(submission)
        return id, inbox

    def _forget(self, id: int, *, finished: bool) -> None:
        """Also has it aborted, if it did not end by itself."""
        if self._generations.pop(id, None) and not finished and self._reason is None:
            self._send(pack(Abort(id)))

    def _send(self, frame: bytes) -> None:
        assert self._link is not None
        self._link.send(frame)
