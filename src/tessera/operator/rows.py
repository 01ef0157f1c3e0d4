"""What an operator sees: rows that the commands print and the admin API returns."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from tessera.core.usage import GroupBy, UsageSum
from tessera.store.keys import Key
from tessera.wire.usage import UsageTotals, counts, total

Row: TypeAlias = Mapping[str, object]

COUNTED = UsageTotals.__struct_fields__


@dataclass(frozen=True, slots=True)
class List:
    """Rows, all or a page of them; `n_found` is how many there are on all pages, and `cursor` where the next
    page begins.
    """

    rows: list[Row]
    n_found: int
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Report:
    """A row for each group of requests, and the totals of all, also of groups that are not shown."""

    rows: list[Row]
    totals: Mapping[str, int]


def key_row(key: Key, account: str, secret: str | None = None) -> Row:
    """The row of a key; `account` is its owner's name. The `secret` is known only when the key is made."""
    terms = key.terms
    return {
        "id": key.id,
        **({} if secret is None else {"secret": secret}),
        "account": account,
        "name": terms.name,
        "state": key.state(time.time()),
        "last4": key.last4,
        "account_id": key.account_id,
        "created_s": key.created_s,
        "last_used_s": key.last_used_s,
        "expires_s": terms.expires_s,
        "revoked_s": key.revoked_s,
        "models": terms.models,
        "burst_rpm": terms.burst_rpm,
        "burst_until_s": terms.burst_until_s,
        "budgets": terms.budgets or {},
        "pepper": key.pepper,
    }


def usage_report(by: Sequence[GroupBy], sums: Sequence[UsageSum], everything: Sequence[UsageSum]) -> Report:
    """Sums of usage as rows, with the totals of `everything`."""
    rows: list[Row] = [{**dict(zip(by, each.groups, strict=True)), **_named(counts(each))} for each in sums]
    return Report(rows, _named(total(everything)))


def _named(numbers: Sequence[int]) -> dict[str, int]:
    return dict(zip(COUNTED, numbers, strict=True))
