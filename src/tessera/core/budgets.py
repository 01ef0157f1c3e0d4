"""Budgets: how many tokens an account or a key may use in a day or a month, both in UTC.

A budget is checked when a request begins, and the request's tokens count when it has ended, for the period in
which it began. A budget of reasoning refuses only requests that think.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Literal, TypeAlias

from tessera.core.usage import NOTHING_USED, Usage

Counted: TypeAlias = Literal["total", "prompt", "completion", "reasoning"]
Period: TypeAlias = Literal["day", "month"]

COUNTED: tuple[Counted, ...] = ("total", "prompt", "completion", "reasoning")
PERIODS: tuple[Period, ...] = ("day", "month")

BUDGETS: Mapping[str, tuple[Counted, Period]] = MappingProxyType(
    {f"{counted}_tokens_per_{period}": (counted, period) for period in PERIODS for counted in COUNTED}
)
"""All budgets by their names, such as `total_tokens_per_month`: what they count, and in which period."""

MAX_BUDGET_TOKENS = 10**15


@dataclass(frozen=True, slots=True)
class TokenBudget:
    """At most `limit_tokens` in a period, for the requests of one key or, if `key_id` is None, of the whole
    account. `name` is one of `BUDGETS`.
    """

    name: str
    limit_tokens: int
    key_id: str | None = None

    @property
    def counted(self) -> Counted:
        return BUDGETS[self.name][0]

    @property
    def period(self) -> Period:
        return BUDGETS[self.name][1]


@dataclass(frozen=True, slots=True)
class Spent:
    """What requests have used that began today, and this month, today included."""

    day: Usage = NOTHING_USED
    month: Usage = NOTHING_USED

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(self.day + other.day, self.month + other.month)

    def tokens(self, budget: TokenBudget) -> int:
        """The tokens that a budget counts."""
        used = self.day if budget.period == "day" else self.month
        return getattr(used, f"{budget.counted}_tokens")


def budgets_of(limits: Mapping[str, int], key_id: str | None = None) -> tuple[TokenBudget, ...]:
    """The budgets of a table of numbers by name; unknown names, perhaps of a newer version, are ignored."""
    return tuple(TokenBudget(name, tokens, key_id) for name, tokens in limits.items() if name in BUDGETS)


def all_spent(by_key: Mapping[str, Spent], budget: TokenBudget) -> Spent:
    """What the key of the budget, or all keys together, have spent."""
    if budget.key_id is not None:
        return by_key.get(budget.key_id, Spent())
    return sum(by_key.values(), Spent())


def resets_s(period: Period, now_s: float) -> float:
    """The Unix time at which the next period begins."""
    today = datetime.fromtimestamp(now_s, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        return (today + timedelta(days=1)).timestamp()
    return (today.replace(day=1) + timedelta(days=32)).replace(day=1).timestamp()


def period_of(period: Period, day: str) -> str:
    """The name of the period that contains a day: the ISO date itself, or its year and month."""
    return day if period == "day" else day[:7]
