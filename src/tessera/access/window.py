"""The rate rule, exact: which requests are accepted, and when the next one would be.

`c` is the number of requests accepted in the last 60 seconds. One more is accepted if `c < sustained`. Else
it is if `c < burst` and fewer than 300 of the last 3,600 seconds were burst seconds, that is seconds in which
a request was accepted with `c >= sustained`. Refused requests never count; one that is refused after it was
accepted counts until then, and the burst second that it may have used stays used.

Pure: the time is an argument, in seconds. It may jump; one that goes back stands still.
"""

import math
from collections import deque
from contextlib import suppress
from dataclasses import dataclass

WINDOW_S = 60
BURST_SECONDS = 300
BURST_WINDOW_S = 3600


@dataclass(frozen=True, slots=True)
class Rate:
    """Requests a minute: for good, and in bursts, for so many seconds of an hour."""

    sustained: int
    burst: int
    burst_seconds: int = BURST_SECONDS

    def share(self, n: int) -> "Rate":
        """What one of `n` that do not know of each other may give, so that all of them give no more than
        this; but at least one request.
        """
        return Rate(*(max(1, each // n) for each in (self.sustained, self.burst, self.burst_seconds)))


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an account stands: what the rate headers say. `reset_s` is when the window is whole again."""

    limit: int
    remaining: int
    reset_s: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """`retry_after_s` is None for an accepted request, else when one would be accepted, rounded up."""

    standing: Standing
    retry_after_s: int | None = None


class Window:
    """The requests of one account."""

    def __init__(self) -> None:
        self._accepted: deque[float] = deque()
        self._bursts: deque[int] = deque()
        self._now_s = -math.inf

    def judge(self, now_s: float, rate: Rate) -> Verdict:
        """Of a request that would come now."""
        self.move_to(now_s)
        n = len(self._accepted)
        if self._open(n, rate):
            return Verdict(self._standing(rate))
        return Verdict(self._standing(rate), max(1, math.ceil(self._next_s(n, rate) - self._now_s)))

    def accept(self, rate: Rate) -> Standing:
        """Count the request that was judged, and accepted."""
        second = math.floor(self._now_s)
        if len(self._accepted) >= rate.sustained and (not self._bursts or self._bursts[-1] != second):
            self._bursts.append(second)
        self._accepted.append(self._now_s)
        return self._standing(rate)

    @property
    def latest_s(self) -> float:
        """When the latest request was accepted."""
        return self._accepted[-1]

    def withdraw(self, accepted_s: float, now_s: float, rate: Rate) -> Standing:
        """Count one that was accepted then no longer."""
        self.move_to(now_s)
        with suppress(ValueError):  # it has left by itself
            self._accepted.remove(accepted_s)
        return self._standing(rate)

    def standing(self, now_s: float, rate: Rate) -> Standing:
        """Without a request."""
        self.move_to(now_s)
        return self._standing(rate)

    @property
    def idle(self) -> bool:
        """Nothing of it matters any more."""
        return not self._accepted and not self._bursts

    def _open(self, n: int, rate: Rate) -> bool:
        return n < rate.sustained or (n < rate.burst and len(self._bursts) < rate.burst_seconds)

    def _next_s(self, n: int, rate: Rate) -> float:
        """When a request would be accepted, if none comes before."""
        within_sustained_s = self._leaves_s(n - rate.sustained)
        if rate.burst <= rate.sustained:
            return within_sustained_s
        within_burst_s = self._leaves_s(n - rate.burst) if n >= rate.burst else self._now_s
        if len(self._bursts) >= rate.burst_seconds:
            # A burst second leaves when the clock shows the second an hour after it.
            freed = self._bursts[len(self._bursts) - rate.burst_seconds] + BURST_WINDOW_S
            within_burst_s = max(within_burst_s, freed)
        return min(within_sustained_s, within_burst_s)

    def _leaves_s(self, index: int) -> float:
        return self._accepted[index] + WINDOW_S

    def _standing(self, rate: Rate) -> Standing:
        n = len(self._accepted)
        reset_s = math.ceil(self._accepted[-1] + WINDOW_S - self._now_s) if n else 0
        return Standing(rate.sustained, max(0, rate.sustained - n), reset_s)

    def move_to(self, now_s: float) -> None:
        """Let time pass."""
        self._now_s = max(self._now_s, now_s)
        while self._accepted and self._accepted[0] + WINDOW_S <= self._now_s:
            self._accepted.popleft()
        while self._bursts and self._bursts[0] + BURST_WINDOW_S <= math.floor(self._now_s):
            self._bursts.popleft()
