"""Who is answered now, who waits, and who is sent away.

Choices run up to a number that the engine can use; other requests wait, in a line for each priority. Lines
are bounded, and so is the time in them: under any load memory stays flat, and whoever cannot be answered in
time hears so at once. The line of the highest priority goes first, but every few turns it is the turn of
whoever has waited longest, so that no line stands still.
"""

import asyncio
import itertools
import math
from dataclasses import dataclass

from tessera.errors import EngineOverloaded

FAIR_EVERY = 8
"""One turn of so many is that of the longest wait, whatever its priority."""

MAX_RETRY_AFTER_S = 60
_WEIGHT = 0.1  # of the last request in the mean time that one holds its place


@dataclass(frozen=True, slots=True)
class Capacity:
    """`max_running` choices run at once; up to `max_queued` requests of each priority wait, no longer than
    `queue_deadline_s`.
    """

    max_running: int = 2**20
    max_queued: int = 256
    queue_deadline_s: float = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """In a line: `turn` is done when the place is granted, and then the choices count as running."""

    ticket: int
    n_choices: int
    turn: asyncio.Future[None]


class Admission:
    """The door to the engine, of one event loop."""

    def __init__(self, capacity: Capacity) -> None:
        self.capacity = capacity
        self.n_running = 0
        self._lines: dict[int, dict[int, _Place]] = {}
        self._tickets, self._turns = itertools.count(), itertools.count(1)
        self._mean_s = 1.0

    @property
    def n_waiting(self) -> int:
        """Requests in all lines."""
        return sum(map(len, self._lines.values()))

    def check(self, priority: int) -> None:
        """Raise `EngineOverloaded` if the line is full: cheap enough to be asked before a body is read."""
        n_queued = len(self._lines.get(priority, ()))
        if self._is_full and n_queued >= self.capacity.max_queued:
            raise self._overloaded(f"{n_queued} requests are waiting already.")

    def enter(self, n_choices: int) -> bool:
        """Take a place if one is free and nobody waits for it; whoever got one must `leave`."""
        if self._is_full or self._lines:
            return False
        self.n_running += n_choices
        return True

    async def wait(self, priority: int, n_choices: int) -> None:
        """Take a place when it is one's turn; whoever got one must `leave`. Raises `EngineOverloaded`."""
        self.check(priority)
        turn = asyncio.get_running_loop().create_future()
        place = _Place(next(self._tickets), n_choices, turn)
        self._lines.setdefault(priority, {})[place.ticket] = place
        try:
            async with asyncio.timeout(self.capacity.queue_deadline_s):
                await turn
        except BaseException as error:
            self._give_up(priority, place)
            if isinstance(error, TimeoutError):
                raise self._overloaded("No place became free in time.", code="queue_timeout") from None
            raise

    def leave(self, n_choices: int, held_s: float) -> None:
        """Give a place back that was held for so long."""
        self._mean_s += _WEIGHT * (held_s - self._mean_s)
        self.n_running -= n_choices
        self._call()

    @property
    def _is_full(self) -> bool:
        return self.n_running >= self.capacity.max_running

    def _call(self) -> None:
        """Grant places while there are any."""
        while self._lines and not self._is_full:
            priority = self._next_line()
            place = next(iter(self._lines[priority].values()))
            self._remove(priority, place)
            if not place.turn.done():
                self.n_running += place.n_choices
                place.turn.set_result(None)

    def _next_line(self) -> int:
        if next(self._turns) % FAIR_EVERY:
            return max(self._lines)
        return min(self._lines, key=lambda priority: next(iter(self._lines[priority])))

    def _give_up(self, priority: int, place: _Place) -> None:
        """Leave the line; a place that was granted at this very moment goes to the next."""
        if place.turn.done() and not place.turn.cancelled():
            self.n_running -= place.n_choices
        else:
            self._remove(priority, place)
        self._call()

    def _remove(self, priority: int, place: _Place) -> None:
        line = self._lines.get(priority, {})
        line.pop(place.ticket, None)
        if not line:
            self._lines.pop(priority, None)

    def _overloaded(self, reason: str, *, code: str | None = None) -> EngineOverloaded:
        """Come back when, at the present pace, those who wait will have been answered."""
        wait_s = self._mean_s * (1 + self.n_waiting / self.capacity.max_running)
        return EngineOverloaded(
            f"The service is saturated. {reason} Send the request again later.",
            code=code,
            retry_after_s=min(max(1.0, math.ceil(wait_s)), MAX_RETRY_AFTER_S),
        )
