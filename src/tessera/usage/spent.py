"""What accounts have spent of their budgets, read from the store.

Requests that run are not counted yet. Days before yesterday do not change any more: they are read once.
"""

from collections.abc import Collection, Mapping
from datetime import date, timedelta

from tessera.core.budgets import Spent
from tessera.core.usage import NOTHING_USED, Usage, day_of
from tessera.store import usage
from tessera.store.database import Transaction

_MAX_ACCOUNTS = 10_000

OfAccounts = Mapping[str, Mapping[str, Usage]]
"""Usage by account and key."""


class SpentReader:
    """Reads the store in threads; remembers what accounts had spent in a month before yesterday."""

    def __init__(self) -> None:
        # Until which day, and what. Replaced together: two threads may see different days at midnight.
        self._remembered: tuple[str, dict[str, Mapping[str, Usage]]] = ("", {})

    def read(
        self, connection: Transaction, accounts: Collection[str], now_s: float
    ) -> Mapping[str, Mapping[str, Spent]]:
        """What each account has spent by the ids of its keys, in the day and the month (UTC) of `now_s`."""
        if not accounts:
            return {}
        today = day_of(now_s)
        first = today[:8] + "01"
        yesterday = max(first, (date.fromisoformat(today) - timedelta(days=1)).isoformat())
        earlier = self._read_earlier(connection, accounts, first, yesterday)
        lately = _sums(connection, accounts, yesterday, today)
        now = _sums(connection, accounts, today, _LAST_DAY)
        parts = (earlier, lately, now)

        def spent(account: str, key: str) -> Spent:
            used = [each.get(account, {}).get(key, NOTHING_USED) for each in parts]
            return Spent(used[-1], sum(used, NOTHING_USED))

        return {
            account: {key: spent(account, key) for each in parts for key in each.get(account, ())}
            for account in accounts
        }

    def _read_earlier(
        self, connection: Transaction, accounts: Collection[str], first: str, until: str
    ) -> OfAccounts:
        remembered_until, earlier = self._remembered
        if remembered_until != until or len(earlier) > _MAX_ACCOUNTS:
            earlier = {}
            self._remembered = until, earlier
        if until > first and (unread := [each for each in accounts if each not in earlier]):
            read = _sums(connection, unread, first, until)
            earlier |= {account: read.get(account, {}) for account in unread}
        return earlier


_LAST_DAY = "9999-12-31"


def _sums(connection: Transaction, accounts: Collection[str], since: str, until: str) -> OfAccounts:
    sums: dict[str, dict[str, Usage]] = {}
    for account, key, used in usage.spent(connection, accounts, since, until):
        sums.setdefault(account, {})[key] = used
    return sums
