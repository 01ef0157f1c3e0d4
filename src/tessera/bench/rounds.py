"""One round: so many streams at once, each asking one question after the other."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from tessera.bench.sample import Outcome

_PAUSE_AFTER_FAILURE_S = 0.1


class Reply(Protocol):
    """What came, unread. `ended` is when its last byte did, by `time.perf_counter`."""

    @property
    def ended(self) -> float:
        """When the last of it came."""
        ...

    @property
    def failed(self) -> bool:
        """Whether it went wrong, as far as that is known unread."""
        ...

    def outcome(self) -> Outcome:
        """Read it."""
        ...


Ask: TypeAlias = Callable[[], Awaitable[Reply]]


class Contestant(Protocol):
    """Whoever can be asked: a server over HTTP, or anything that takes the same bodies."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    async def prepare(self, body: Mapping[str, object], deadline_s: float) -> Ask:
        """Do all that can be done before the clock starts. The result asks; it raises nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """When a stream stops asking: after `n_requests`, or, with `seconds`, when they are over.

    A reply that runs is finished, for at most `deadline_s`.
    """

    n_requests: int
    seconds: float | None = None
    deadline_s: float = 300.0

    def share(self, n_done: int, n_streams: int, took_s: float) -> float:
        """How much of the round is over, 0 to 1."""
        return min(
            1.0, n_done / (n_streams * self.n_requests) if self.seconds is None else took_s / self.seconds
        )


@dataclass(frozen=True, slots=True)
class Round:
    """What became of every request. `took_s` runs from the first request to the last byte."""

    took_s: float
    outcomes: tuple[Outcome, ...]


async def run_round(
    contestant: Contestant,
    question: Callable[[int, int], Mapping[str, object]],
    n_streams: int,
    limits: Limits,
    progress: Callable[[float], None],
) -> Round:
    """`question(stream, index)` is a body; `progress` is told how much is over, 0 to 1."""

    async def prepare(stream: int, index: int) -> Ask:
        return await contestant.prepare(question(stream, index), limits.deadline_s)

    n_prepared = limits.n_requests if limits.seconds is None else 1
    prepared = [[await prepare(stream, i) for i in range(n_prepared)] for stream in range(n_streams)]
    replies: list[Reply] = []
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
