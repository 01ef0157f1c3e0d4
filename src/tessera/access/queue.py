"""The queue for places at a model's engine: which requests start now, which wait, and which are refused.

Each choice of a request needs one place: a request with `n` 8 takes eight. Requests for which there is no
room wait, in a queue for each priority. The queues' lengths and the time in them are bounded: under any load
the memory stays flat, and a request that cannot be answered in time is refused.

- The highest priority goes first. Every eighth turn (`FAIR_EVERY`) is that of the request that has waited
  longest, so that no queue starves.
- Each priority above the lowest has reserved places, which lower ones cannot take: as long as it holds no
  more than these, its requests start at once.
- Within a priority, the next account is the one that holds the fewest places. If the queue is full, the
  account with the most requests in it loses its latest one to an account that has fewer.
- A request that needs more places than are free is not overtaken for ever: when its turn of the longest wait
  has come, places that become free are kept for it, but not those reserved for higher priorities.
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
from tessera.errors import EngineOverloaded
from tessera.observe.metrics import Metrics
from tessera.processes.sharing import FairQueue

FAIR_EVERY = 8
"""One turn of so many is that of the longest wait, of any priority."""

MAX_RETRY_AFTER_S = 60
_WEIGHT = 0.1  # of the latest request, in the moving mean of how long a request holds its places


@dataclass(slots=True, eq=False)
class Places:
    """The places of one request, `n` of them. They are taken from the moment they are granted until
    `leave`.
    """

    account: str
    priority: int
    n: int
    number: int  # in the order of arrival
    decided: asyncio.Future[None]
    state: Literal["waiting", "granted", "refused", "left"] = "waiting"
    granted_s: float = 0.0


class EngineQueue:
    """The queue of one model in one event loop, which grants as many places as `capacity` says."""

    def __init__(
        self,
        capacity: Capacity,
        metrics: Metrics | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.capacity = capacity
        self._limits = tuple(capacity.limits())
        self._queues: dict[int, FairQueue[str, Places]] = {}
        self._held: Counter[int] = Counter()
        self._held_by: Counter[str] = Counter()
        self._kept_for: Places | None = None
        self._numbers = itertools.count()
        self._n_turns = 0
        self._mean_s = 1.0
        self._clock = clock
        self._taken = (metrics or Metrics()).places

    @property
    def n_running(self) -> int:
        return self._held.total()

    @property
    def n_waiting(self) -> int:
        return sum(map(len, self._queues.values()))

    def refusal(self, account: str, priority: int) -> EngineOverloaded | None:
        """The error with which a request would be refused now. Cheap: it is called before a body is read."""
        queue = self._queues.get(priority)
        n_queued = len(queue) if queue else 0
        if n_queued < self.capacity.max_queued or self._is_free(priority):
            return None
        if queue and queue.n_of(queue.largest()[0]) > queue.n_of(account) + 1:
            return None
        return self._overloaded(f"{n_queued} requests are waiting already.")

    def join(self, account: str, priority: int, n_choices: int) -> Places:
        """Queues a request. Its places may be granted at once, else `wait` for them; `leave` in any case.
        Raises `EngineOverloaded` if the queue is full.
        """
        decided = asyncio.get_running_loop().create_future()
        # A request with more choices than the priority may have places starts when it has all of these.
        n = min(n_choices, self._most(priority))
        place = Places(account, priority, n, next(self._numbers), decided)
        if not self._queues and self._has_room(priority, n):
            self._grant(place)
            return place
        queue = self._queues.setdefault(priority, FairQueue())
        queue.add(account, place)
        self._grant_places()
        if place.state == "waiting" and len(queue) > self.capacity.max_queued:
            self._refuse_one(queue, place)
        return place

    async def wait(self, place: Places) -> None:
        """Returns when the places are granted. Raises `EngineOverloaded` if that takes too long, or if the
        request loses its place in the queue to another account.
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
        """Gives the places back, or leaves the queue; the first call counts."""
        if place.state == "waiting":
            self._remove(place)
        elif place.state == "granted":
            self._mean_s += _WEIGHT * (self._clock() - place.granted_s - self._mean_s)
            self._hold(place, -place.n)
        place.state = "left"
        if self._queues:
            self._grant_places()

    def _grant_places(self) -> None:
        while self._queues:
            place = self._next()
            if not self._has_room(place.priority, place.n, place):
                return
            self._queues[place.priority].take(place.account, place)
            self._forget(place)
            self._grant(place)

    def _grant(self, place: Places) -> None:
        self._n_turns += 1
        self._hold(place, place.n)
        place.state = "granted"
        place.granted_s = self._clock()
        place.decided.set_result(None)

    def _next(self) -> Places:
        """The request whose turn it is. If it is the turn of the longest wait and there is no room for it, it
        is remembered, and others may take the places that it does not need.
        """
        if self._kept_for is None and self._n_turns % FAIR_EVERY == FAIR_EVERY - 1:
            self._kept_for = self._of_longest_wait()
        kept_for = self._kept_for
        if kept_for and self._has_room(kept_for.priority, kept_for.n, kept_for):
            return kept_for
        return self._queues[max(self._queues)].next(self._held_by)

    def _of_longest_wait(self) -> Places | None:
        """The next request of the queue whose first request has waited longest. A queue whose priority has
        all the places it may have does not count: nothing is kept free for it.
        """
        found: Places | None = None
        longest = math.inf
        for priority, queue in self._queues.items():
            place, oldest = queue.next(self._held_by), min(place.number for place in queue.first_items())
            held = self._held_within(-math.inf, priority + 1)
            if oldest < longest and held + place.n <= self._most(priority):
                found = place
                longest = oldest
        return found

    def _most(self, priority: int) -> int:
        """The most places that this priority and lower ones may hold together."""
        return next(most for below, most in self._limits if below > priority)

    def _has_room(self, priority: int, n: int, place: Places | None = None) -> bool:
        """Whether so many places are free now, without those kept for another request than `place`."""
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
        self._taken.labels(str(place.priority)).inc(n)

    def _refuse_one(self, queue: FairQueue[str, Places], newcomer: Places) -> None:
        """Refuses the latest request of the account that has the most; raises if that is the newcomer's."""
        account, latest = queue.largest()
        if queue.n_of(account) <= queue.n_of(newcomer.account):
            self._remove(newcomer)
            newcomer.state = "refused"
            raise self._overloaded(f"{self.capacity.max_queued} requests are waiting already.")
        self._remove(latest)
        latest.state = "refused"
        latest.decided.set_result(None)

    def _remove(self, place: Places) -> None:
        self._queues[place.priority].remove(place.account, place)
        self._forget(place)

    def _forget(self, place: Places) -> None:
        if not self._queues[place.priority]:
            del self._queues[place.priority]
        if self._kept_for is place:
            self._kept_for = None

    def _overloaded(self, reason: str, *, code: str | None = None) -> EngineOverloaded:
        """`retry_after_s` is when, at the present pace, the requests that wait now will have ended."""
        wait_s = self._mean_s * (1 + self.n_waiting / self.capacity.max_running)
        return EngineOverloaded(
            f"The service is saturated. {reason} Send the request again later.",
            code=code,
            retry_after_s=min(max(1.0, math.ceil(wait_s)), MAX_RETRY_AFTER_S),
        )
