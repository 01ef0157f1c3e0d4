"""One round: several streams at once, each of which sends one request after the other."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from tessera.bench.sample import Outcome

_PAUSE_AFTER_FAILURE_S = 0.1


class RawReply(Protocol):
    """A response as it arrived, not parsed yet. Times are those of `time.perf_counter`."""

    @property
    def ended(self) -> float:
        """When its last byte arrived."""
        ...

    @property
    def failed(self) -> bool:
        """Whether it failed, as far as that is known without parsing it."""
        ...

    def outcome(self) -> Outcome: ...


Ask: TypeAlias = Callable[[], Awaitable[RawReply]]


class Contestant(Protocol):
    """What is measured: a server over HTTP, or anything that takes the same bodies."""

    @property
    def name(self) -> str:
        """Its name in tables."""
        ...

    async def prepare(self, body: Mapping[str, object], deadline_s: float) -> Ask:
        """Do everything that can be done before the clock starts. The returned function sends the request and
        never raises.
        """
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """When a stream stops: after `n_requests`, or after so many `seconds` if they are given.

    A running reply may still finish, within `deadline_s` of its beginning.
    """

    n_requests: int
    seconds: float | None = None
    deadline_s: float = 300.0

    def share(self, n_done: int, n_streams: int, took_s: float) -> float:
        """How much of the round has passed, 0 to 1."""
        return min(
            1.0, n_done / (n_streams * self.n_requests) if self.seconds is None else took_s / self.seconds
        )


@dataclass(frozen=True, slots=True)
class Round:
    """The outcome of every request. `took_s` runs from the first request to the last byte."""

    took_s: float
    outcomes: tuple[Outcome, ...]


async def run_round(
    contestant: Contestant,
    question: Callable[[int, int], Mapping[str, object]],
    n_streams: int,
    limits: Limits,
    progress: Callable[[float], None],
) -> Round:
    """Run a round. `question(stream, index)` returns a body; `progress` is called with the share that has
    passed, 0 to 1.
    """

    async def prepare(stream: int, index: int) -> Ask:
        return await contestant.prepare(question(stream, index), limits.deadline_s)

    n_prepared = limits.n_requests if limits.seconds is None else 1
    prepared = [[await prepare(stream, i) for i in range(n_prepared)] for stream in range(n_streams)]
    replies: list[RawReply] = []
    begun = time.perf_counter()

    async def run(stream: int) -> None:
        asks, n_asked = prepared[stream], 0
        while n_asked < n_prepared or _has_time(limits, begun):
            ask = asks[n_asked] if n_asked < n_prepared else await prepare(stream, n_asked)
            n_asked += 1
            reply = await ask()
            replies.append(reply)
            progress(limits.share(len(replies), n_streams, time.perf_counter() - begun))
            if reply.failed and limits.seconds is not None:
                await asyncio.sleep(_PAUSE_AFTER_FAILURE_S)

    async with asyncio.TaskGroup() as streams:
        for stream in range(n_streams):
            streams.create_task(run(stream))
    took_s = max(reply.ended for reply in replies) - begun
    return Round(took_s, tuple(reply.outcome() for reply in replies))


def _has_time(limits: Limits, begun: float) -> bool:
    return limits.seconds is not None and time.perf_counter() - begun < limits.seconds
