from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.core.budgets import (
    BUDGETS,
    PERIODS,
    Period,
    Spent,
    TokenBudget,
    all_spent,
    budgets_of,
    period_of,
    resets_s,
)
from tessera.core.usage import DAY_S, Usage, day_of


def at(*date: int) -> float:
    return datetime(*date, tzinfo=UTC).timestamp()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("now_s", "next_day_s", "next_month_s"),
    [
        (at(2026, 1, 31, 23, 59, 59), at(2026, 2, 1), at(2026, 2, 1)),
        (at(2026, 2, 1), at(2026, 2, 2), at(2026, 3, 1)),
        (at(2028, 2, 29, 5), at(2028, 3, 1), at(2028, 3, 1)),
        (at(2026, 12, 31, 1), at(2027, 1, 1), at(2027, 1, 1)),
    ],
)
def test_a_period_ends_at_midnight_utc(now_s: float, next_day_s: float, next_month_s: float) -> None:
    assert resets_s("day", now_s) == next_day_s
    assert resets_s("month", now_s) == next_month_s


MOMENTS = st.integers(0, 60 * 366).flatmap(
    lambda day: st.sampled_from([0.0, 1e-3, 0.5 * DAY_S, DAY_S - 1.0, DAY_S - 1e-3]).map(
        lambda second: day * DAY_S + second
    )
)


@given(MOMENTS, st.sampled_from(PERIODS))
def test_a_period_ends_at_the_first_moment_that_belongs_to_the_next_one(now_s: float, period: Period) -> None:
    ends_s = resets_s(period, now_s)
    assert now_s < ends_s <= now_s + (1 if period == "day" else 31) * DAY_S
    this = period_of(period, day_of(now_s))
    assert period_of(period, day_of(ends_s - 1e-3)) == this
    assert period_of(period, day_of(ends_s)) > this


def test_each_budget_counts_what_its_name_says() -> None:
    by_key = {
        "a": Spent(Usage(1, 0, 20, 10), Usage(100, 0, 2000, 1000)),
        "b": Spent(Usage(1, 0, 20, 10), Usage(100, 0, 2000, 1000)),
    }
    counts = {name: all_spent(by_key, TokenBudget(name, 0)).tokens(TokenBudget(name, 0)) for name in BUDGETS}
    assert counts == {
        "total_tokens_per_day": 42,
        "prompt_tokens_per_day": 2,
        "completion_tokens_per_day": 40,
        "reasoning_tokens_per_day": 20,
        "total_tokens_per_month": 4200,
        "prompt_tokens_per_month": 200,
        "completion_tokens_per_month": 4000,
        "reasoning_tokens_per_month": 2000,
    }
    own = TokenBudget("prompt_tokens_per_day", 0, "a")
    assert all_spent(by_key, own).tokens(own) == 1
    assert all_spent({}, own).tokens(own) == 0


def test_budgets_of_a_newer_version_are_ignored() -> None:
    assert budgets_of({"total_tokens_per_day": 3, "joules_per_day": 4}, "k") == (
        TokenBudget("total_tokens_per_day", 3, "k"),
    )
