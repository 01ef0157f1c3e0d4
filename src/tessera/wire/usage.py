"""Usage as JSON: what GET /v1/usage answers and what the command prints."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Literal, get_args

import msgspec
from msgspec import UNSET, Struct, UnsetType

from tessera.core.budgets import Spent, TokenBudget, all_spent, period_of, resets_s
from tessera.core.usage import UsageQuestion, UsageSum, day_of
from tessera.errors import RequestError

OwnBy = Literal["day", "model"]


class UsageTotals(Struct):
    """Requests, those of them without a whole reply, and their tokens."""

    requests: int
    failed: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int


class UsageRow(UsageTotals, kw_only=True):
    """What the requests of a day, or to a model, add up to."""

    day: str | UnsetType = UNSET
    model: str | UnsetType = UNSET


class BudgetRow(Struct):
    """How much of a budget is used in its period, such as 2026-01-31 or 2026-01, until `resets_s`, a Unix
    time. Without a `key_id` it is the budget of the whole account.
    """

    budget: str
    key_id: str | None
    period: str
    limit_tokens: int
    used_tokens: int
    resets_s: float


class UsageReport(Struct):
    """The body of GET /v1/usage."""

    rows: list[UsageRow]
    totals: UsageTotals
    budgets: list[BudgetRow]
    object: Literal["usage"] = "usage"


def read_question(asked: Mapping[str, str], account: str) -> UsageQuestion:
    """An account's question about itself; raises `RequestError`."""
    by = asked.get("by", "day")
    if by not in get_args(OwnBy):
        raise RequestError(f"by is {by[:50]!r}: send day or model.", param="by")
    since, until = (read_day(asked[name], name) if name in asked else None for name in ("since", "until"))
    return UsageQuestion(("model",) if by == "model" else ("day",), since, until, account=account)


def read_day(asked: str, param: str) -> str:
    """A day as the store writes it; raises `RequestError`."""
    try:
        return date.fromisoformat(asked).isoformat()
    except ValueError:
        raise RequestError(f"{param} is {asked[:50]!r}: send one such as 2026-01-31.", param=param) from None


def budget_rows(budgets: Iterable[TokenBudget], by_key: Mapping[str, Spent], now_s: float) -> list[BudgetRow]:
    """The rows of budgets at that Unix time; `by_key` is what the account has spent."""
    return [
        BudgetRow(
            budget.name,
            budget.key_id,
            period_of(budget.period, day_of(now_s)),
            budget.limit_tokens,
            all_spent(by_key, budget).tokens(budget),
            resets_s(budget.period, now_s),
        )
        for budget in budgets
    ]


def encode_usage(question: UsageQuestion, sums: Sequence[UsageSum], budgets: list[BudgetRow]) -> bytes:
    """The body of GET /v1/usage."""
    rows = [
        UsageRow(*counts(each), **dict(zip(question.by, each.groups, strict=True)))  # pyright: ignore[reportArgumentType] day or model
        for each in sums
    ]
    return msgspec.json.encode(UsageReport(rows, UsageTotals(*total(sums)), budgets))


def counts(each: UsageSum) -> tuple[int, ...]:
    """In the order of `UsageTotals`."""
    used = each.usage
    tokens = used.prompt_tokens, used.cached_tokens, used.completion_tokens, used.reasoning_tokens
    return each.n_requests, each.n_failed, *tokens


def total(sums: Iterable[UsageSum]) -> tuple[int, ...]:
    """The totals of all sums, in the order of `UsageTotals`."""
    nothing = (0,) * len(UsageTotals.__struct_fields__)
    return tuple(map(sum, zip(nothing, *map(counts, sums), strict=True)))
