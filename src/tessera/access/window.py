"""The rate rule, exact: which requests are accepted, and when the next one would be.

`c` is the number of requests accepted in the last 60 seconds. One more is accepted if `c < sustained`. Else
it is if `c < burst` and fewer than 300 of the last 3,600 seconds were burst seconds, that is seconds in which
a request was accepted with `c >= sustained`. Refused requests never count. A request that is withdrawn after
it was accepted counts until then, and a burst second that it used stays used.

Pure: the time is an argument, in seconds. It may jump forward; a time before the last one counts as the last.
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
    """Requests a minute: sustained, and in bursts, for `burst_seconds` of an hour."""

    sustained: int
    burst: int
    burst_seconds: int = BURST_SECONDS

    def share(self, n: int) -> "Rate":
        """The part that each of `n` processes may grant that do not know of each other, so that together they
        grant no more than this; but at least one request.
        """
        return Rate(*(max(1, each // n) for each in (self.sustained, self.burst, self.burst_seconds)))


@dataclass(frozen=True, slots=True)
class Standing:
    """The rate headers of an account. In `reset_s` seconds, all of `limit` is available again."""

    limit: int
    remaining: int
    reset_s: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """`retry_after_s` is None if the request can be accepted, else how long until one could be, rounded
    up.
    """

    standing: Standing
    retry_after_s: int | None = None


class Window:
    """The requests of one account. `latest_s` is when the latest one was accepted."""

    def __init__(self) -> None:
        self.latest_s = -math.inf
        self._accepted: deque[float] = deque()
        self._bursts: deque[int] = deque()
        self._now_s = -math.inf

    def judge(self, now_s: float, rate: Rate) -> Verdict:
        """Whether a request that comes now can be accepted; does not count it."""
        self.move_to(now_s)
        n = len(self._accepted)
        if n < rate.sustained or (n < rate.burst and len(self._bursts) < rate.burst_seconds):
            return Verdict(self._standing(rate))
        return Verdict(self._standing(rate), max(1, math.ceil(self._next_s(n, rate) - self._now_s)))

    def accept(self, rate: Rate) -> Standing:
        """Counts the request that was judged last."""
        second = math.floor(self._now_s)
        if len(self._accepted) >= rate.sustained and (not self._bursts or self._bursts[-1] != second):
            self._bursts.append(second)
        self._accepted.append(self._now_s)
        self.latest_s = self._now_s
        return self._standing(rate)

    def withdraw(self, accepted_s: float, now_s: float, rate: Rate) -> Standing:
        """Stops counting the request that was accepted at `accepted_s`."""
        self.move_to(now_s)
        with suppress(ValueError):  # it has left the window already
            self._accepted.remove(accepted_s)
        return self._standing(rate)

    def standing(self, now_s: float, rate: Rate) -> Standing:
        self.move_to(now_s)
        return self._standing(rate)

    @property
    def idle(self) -> bool:
        return not self._accepted and not self._bursts

    def _next_s(self, n: int, rate: Rate) -> float:
        """When the next request can be accepted, if none is before it."""
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
        """Drops what has left the windows by now."""
        self._now_s = max(self._now_s, now_s)
        while self._accepted and self._accepted[0] + WINDOW_S <= self._now_s:
            self._accepted.popleft()
        while self._bursts and self._bursts[0] + BURST_WINDOW_S <= math.floor(self._now_s):
            self._bursts.popleft()
