"""Budgets as `redis_scripts` reads them: fields of a hash for each account, and JSON that names them.

The fields are `<key id>:<period>:<counted>`; those without a key id are of the whole account.
"""

import json
from collections.abc import Iterable, Iterator, Mapping

from tessera.access.spending import FRESH_S
from tessera.core.budgets import PERIODS, Counted, Spent, TokenBudget
from tessera.core.usage import Usage

PATIENCE_S = 10.0
"""A process that has not read an account's usage by then has died."""

_KEPT: tuple[Counted, ...] = ("prompt", "completion", "reasoning")
_PARTS: Mapping[Counted, tuple[Counted, ...]] = {"total": ("prompt", "completion")}


def budgets_asked(budgets: Iterable[TokenBudget], day: str, *, again: bool) -> str:
    """The budgets that a request has to keep to; '' if there are none. `again` says that what was spent must
    be read before.
    """
    asked = [{"fields": _fields_of(budget), "limit": budget.limit_tokens} for budget in budgets]
    times = {"fresh_us": round(FRESH_S * 1e6), "patience_us": round(PATIENCE_S * 1e6)}
    return json.dumps({"day": day, "again": again, **times, "budgets": asked}) if asked else ""


def usage_spent(key_id: str, day: str, used: Usage) -> str:
    """What a request has used that began on that day; '' if nothing."""
    if not used.total_tokens:
        return ""
    today, month = (
        {f"{holder}:{period}:{part}": _count(used, part) for holder in ("", key_id) for part in _KEPT}
        for period in PERIODS
    )
    return json.dumps({"day": day, "today": today, "month": month})


def fields_read(by_key: Mapping[str, Spent]) -> Iterator[str | int]:
    """What the keys of an account have spent by the ledger, as fields and numbers in turn."""
    whole = sum(by_key.values(), Spent())
    for holder, spent in (("", whole), *by_key.items()):
        for period, used in (("day", spent.day), ("month", spent.month)):
            for part in _KEPT:
                yield from (f"{holder}:{period}:{part}", _count(used, part))


def _fields_of(budget: TokenBudget) -> list[str]:
    parts = _PARTS.get(budget.counted, (budget.counted,))
    return [f"{budget.key_id or ''}:{budget.period}:{part}" for part in parts]


def _count(used: Usage, counted: Counted) -> int:
    return getattr(used, f"{counted}_tokens")
