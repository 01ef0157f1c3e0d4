"""Which requests are answered now, which wait, and which are refused.

A place at the engine is one choice: a request with `n` 8 takes eight. Requests for which there is no room
wait, in a queue for each priority. Queues are bounded, and so is the time in them: under any load memory
stays flat, and a request that cannot be answered in time is refused.

- The highest priority goes first. Every few turns it is the turn of the longest wait, so that no queue
  stands still.
- Each priority above the lowest has reserved places, which lower ones cannot take. Whatever lower priorities
  do, its requests run at once as long as it holds no more than these.
- Within a priority, accounts take turns: the next is the one that holds the fewest places. If the queue is
  full, the account that has most of it loses its latest request to an account that has less.
- A request that needs more places than are free is not overtaken for good. What becomes free is kept for it,
  but for the places reserved for higher priorities.
"""

import asyncio
import itertools
import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tessera.access.capacity import Capacity
from tessera.access.fair_queue import FairQueue
from tessera.errors import EngineOverloaded
from tessera.observe.metrics import Metrics

FAIR_EVERY = 8
"""One turn of so many is that of the longest wait, whatever its priority."""

MAX_RETRY_AFTER_S = 60
_WEIGHT = 0.1  # of the last request in the mean time that one holds its place


@dataclass(slots=True, eq=False)
class Places:
    """A request's place: `n` choices, which count as running from the moment it is granted until `leave`."""

    account: str
    priority: int
    n: int
    number: int  # of its arrival
    decided: asyncio.Future[None]
    state: Literal["waiting", "granted", "refused", "left"] = "waiting"
    granted_s: float = 0.0


class EngineQueue:
    """The places at the engine that one event loop may give."""

    def __init__(
        self,
        capacity: Capacity,
        metrics: Metrics | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.capacity = capacity
        self._limits = tuple(capacity.limits())
        self._queues: dict[int, FairQueue[Places]] = {}
        self._held: Counter[int] = Counter()
        self._held_by: Counter[str] = Counter()
        self._kept_for: Places | None = None
        self._numbers, self._n_turns = itertools.count(), 0
        self._mean_s, self._clock = 1.0, clock
        self._shown = (metrics or Metrics()).places

    @property
    def n_running(self) -> int:
        """Places that are taken."""
        return self._held.total()

    @property
    def n_waiting(self) -> int:
        """Requests in all queues."""
        return sum(map(len, self._queues.values()))

    def check(self, account: str, priority: int) -> None:
        """Raise `EngineOverloaded` if a request would be refused: cheap enough to be asked before its body is
        read.
        """
        queue = self._queues.get(priority) or FairQueue[Places]()
        if len(queue) < self.capacity.max_queued or self._is_free(priority):
            return
        if not queue or queue.n_of(queue.largest()[0]) <= queue.n_of(account) + 1:
            raise self._overloaded(f"{len(queue)} requests are waiting already.")

    def join(self, account: str, priority: int, n_choices: int) -> Places:
        """A place, granted at once or to be waited for, and to be left in any case. Raises
        `EngineOverloaded` if the queue is full.
        """
        decided = asyncio.get_running_loop().create_future()
        # More choices than there are places run when they have all that the priority may have.
        n = min(n_choices, self._most(priority))
        place = Places(account, priority, n, next(self._numbers), decided)
        queue = self._queues.setdefault(priority, FairQueue())
        queue.add(account, place)
        self._grant_places()
        if place.state == "waiting" and len(queue) > self.capacity.max_queued:
            self._refuse_one(queue, place)
        return place

    async def wait(self, place: Places) -> None:
        """Return when the place is granted. Raises `EngineOverloaded` if that takes too long, or if the place
        in the queue is given to an account that has fewer.
        """
        try:
            async with asyncio.timeout(self.capacity.queue_deadline_s):
                await asyncio.shield(place.decided)
        except TimeoutError:
            if place.state == "waiting":
                raise self._overloaded("No place became free in time.", code="queue_timeout") from None
        if place.state == "refused":
            raise self._overloaded("Your account has the most requests that wait.")

    def leave(self, place: Places) -> None:
        """Give the place back, whatever became of it; the first call counts."""
        if place.state == "waiting":
            self._remove(place)
        elif place.state == "granted":
            self._mean_s += _WEIGHT * (self._clock() - place.granted_s - self._mean_s)
            self._hold(place, -place.n)
        place.state = "left"
        self._grant_places()

    def _grant_places(self) -> None:
        while (place := self._next()) and self._has_room(place.priority, place.n, place):
            self._queues[place.priority].take(place.account, place)
            self._forget(place)
            self._n_turns += 1
            self._hold(place, place.n)
            place.state, place.granted_s = "granted", self._clock()
            place.decided.set_result(None)

    def _next(self) -> Places | None:
        """The request whose turn it is. If that of the longest wait has come and there is no room for it yet,
        it is remembered, and others go on with what it does not need.
        """
        if not self._queues:
            return None
        if self._kept_for is None and self._n_turns % FAIR_EVERY == FAIR_EVERY - 1:
            self._kept_for = self._of_longest_wait()
        kept_for = self._kept_for
        if kept_for and self._has_room(kept_for.priority, kept_for.n, kept_for):
            return kept_for
        return self._queues[max(self._queues)].next(self._held_by)

    def _of_longest_wait(self) -> Places | None:
        """The next place of the queue whose first request has waited longest. Only queues that higher
        priorities hold up count: nothing is kept free for a priority that has all it may have.
        """
        found: Places | None = None
        longest = math.inf
        for priority, queue in self._queues.items():
            place, oldest = queue.next(self._held_by), min(place.number for place in queue.first_items())
            held = self._held_within(-math.inf, priority + 1)
            if oldest < longest and held + place.n <= self._most(priority):
                found, longest = place, oldest
        return found

    def _most(self, priority: int) -> int:
        """The most places that this priority and lower ones may hold together."""
        return next(most for below, most in self._limits if below > priority)

    def _has_room(self, priority: int, n: int, place: Places | None = None) -> bool:
        """Whether so many places are free now, but for those that are kept for another than `place`."""
        kept_for = None if self._kept_for is place else self._kept_for
        for below, most in self._limits:
            if below <= priority:
                continue
            room = most - self._held_within(-math.inf, below) - n
            if room < 0:
                return False
            if kept_for is None or kept_for.priority >= below or room >= kept_for.n:
                continue
            own = self._reserved_within(priority, below) - self._held_within(priority, below)
            if priority <= kept_for.priority or own < n:
                return False
        return True

    def _is_free(self, priority: int) -> bool:
        """Whether a request with one choice would run at once."""
        return max(self._queues, default=priority - 1) < priority and self._has_room(priority, 1)

    def _held_within(self, low: float, below: float) -> int:
        return sum(n for priority, n in self._held.items() if low <= priority < below)

    def _reserved_within(self, low: float, below: float) -> int:
        return sum(n for priority, n in self.capacity.reserved.items() if low <= priority < below)

    def _hold(self, place: Places, n: int) -> None:
        self._held[place.priority] += n
        self._held_by[place.account] += n
        if not self._held_by[place.account]:
            del self._held_by[place.account]
        self._shown.labels(str(place.priority)).set(self._held[place.priority])

    def _refuse_one(self, queue: FairQueue[Places], newcomer: Places) -> None:
        """Raises if it is the newcomer: then its account has as many waiting as any other."""
        account, latest = queue.largest()
        if queue.n_of(account) <= queue.n_of(newcomer.account):
            self._remove(newcomer)
            newcomer.state = "refused"
            raise self._overloaded(f"{self.capacity.max_queued} requests are waiting already.")
        self._remove(latest)
        latest.state = "refused"
        latest.decided.set_result(None)

    def _remove(self, place: Places) -> None:
        """Take it out of its queue."""
        self._queues[place.priority].remove(place.account, place)
        self._forget(place)

    def _forget(self, place: Places) -> None:
        """It waits no more."""
        if not self._queues[place.priority]:
            del self._queues[place.priority]
        if self._kept_for is place:
            self._kept_for = None

    def _overloaded(self, reason: str, *, code: str | None = None) -> EngineOverloaded:
        """Come back when, at the present pace, those who wait will have been answered."""
        wait_s = self._mean_s * (1 + self.n_waiting / self.capacity.max_running)
        return EngineOverloaded(
            f"The service is saturated. {reason} Send the request again later.",
            code=code,
            retry_after_s=min(max(1.0, math.ceil(wait_s)), MAX_RETRY_AFTER_S),
        )
