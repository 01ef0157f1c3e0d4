"""The rate rule against a brute-force oracle that counts everything anew at every request."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.access.window import BURST_SECONDS, BURST_WINDOW_S, WINDOW_S, Rate, Verdict, Window


class Oracle:
    """The rule of the contract, implemented plainly."""

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self.accepted: list[float] = []
        self.bursts: set[int] = set()
        self.now_s = -math.inf

    def count(self, at_s: float) -> int:
        return sum(each > at_s - WINDOW_S for each in self.accepted)

    def accepts(self, at_s: float) -> bool:
        count = self.count(at_s)
        spent = sum(second > math.floor(at_s) - BURST_WINDOW_S for second in self.bursts)
        return count < self.rate.sustained or (count < self.rate.burst and spent < self.rate.burst_seconds)

    def admit(self, at_s: float) -> bool:
        self.now_s = at_s = max(self.now_s, at_s)
        accepted = self.accepts(at_s)
        if accepted:
            if self.count(at_s) >= self.rate.sustained:
                self.bursts.add(math.floor(at_s))
            self.accepted.append(at_s)
        return accepted

    def withdraw(self, accepted_s: float) -> None:
        self.accepted.remove(accepted_s)


def ask(window: Window, now_s: float, rate: Rate) -> Verdict:
    """Asks for a verdict, and counts what is accepted."""
    verdict = window.judge(now_s, rate)
    return verdict if verdict.retry_after_s is not None else Verdict(window.accept(rate))


# Multiples of a 64th, so that sums of floats are exact.
GAPS = st.one_of(
    *(st.integers(low * 64, high * 64) for low, high in ((0, 1), (0, 5), (0, 61), (-10, 0), (0, 4000)))
).map(lambda n: n / 64)
RATES = st.builds(
    lambda sustained, more, seconds: Rate(sustained, sustained + more, seconds),
    st.integers(1, 6),
    st.integers(0, 6),
    st.sampled_from((1, 3, BURST_SECONDS)),
)


@given(RATES, st.lists(GAPS, max_size=80))
def test_it_accepts_what_the_rule_accepts(rate: Rate, gaps: list[float]) -> None:
    window, oracle, now_s = Window(), Oracle(rate), 1000.0
    for gap in gaps:
        now_s += gap
        verdict = ask(window, now_s, rate)
        assert (verdict.retry_after_s is None) == oracle.admit(now_s)
        count = oracle.count(oracle.now_s)
        assert count <= rate.burst
        assert verdict.standing.limit == rate.sustained
        assert verdict.standing.remaining == max(0, rate.sustained - count)
        assert oracle.count(oracle.now_s + verdict.standing.reset_s) == 0
        if verdict.retry_after_s is not None:
            assert verdict.retry_after_s >= 1
            assert oracle.accepts(oracle.now_s + verdict.retry_after_s)
            assert verdict.retry_after_s == 1 or not oracle.accepts(oracle.now_s + verdict.retry_after_s - 1)


def test_a_burst_lasts_300_seconds_of_an_hour() -> None:
    rate, window, accepted = Rate(60, 120), Window(), []
    for half_seconds in range(2 * 3600):
        if ask(window, half_seconds / 2, rate).retry_after_s is None:
            accepted.append(half_seconds / 2)
    per_minute = [sum(60 * minute <= at < 60 * (minute + 1) for at in accepted) for minute in range(60)]
    assert per_minute[0] == 120
    assert max(per_minute) <= 120
    assert per_minute[30] == 60
    over = {math.floor(at) for i, at in enumerate(accepted) if i >= 60 and accepted[i - 60] > at - WINDOW_S}
    assert len(over) == BURST_SECONDS


@pytest.mark.parametrize("rate", [Rate(1, 1), Rate(5000, 7000)])
def test_refused_requests_do_not_count(rate: Rate) -> None:
    window = Window()
    for _ in range(rate.burst):
        assert ask(window, 10.0, rate).retry_after_s is None
    for _ in range(100):
        assert ask(window, 69.9, rate).retry_after_s is not None
    assert ask(window, 70.0, rate).retry_after_s is None


def test_it_forgets() -> None:
    window = Window()
    for _ in range(3):
        ask(window, 0.0, Rate(1, 3))
    assert not window.idle
    window.standing(4000.0, Rate(1, 3))
    assert window.idle


@pytest.mark.parametrize("n", [2, 3, 7])
def test_shares_are_no_more_than_the_whole(n: int) -> None:
    whole, share = Rate(50, 100), Rate(50, 100).share(n)
    assert (share.sustained * n, share.burst * n, share.burst_seconds * n) <= (50, 100, BURST_SECONDS)
    assert share.burst * n <= whole.burst
    assert Rate(1, 2).share(4) == Rate(1, 1, 75)
