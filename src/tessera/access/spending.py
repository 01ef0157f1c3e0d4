"""What accounts have spent of their budgets, for one of `n` processes that do not know of each other.

The ledger is the truth. A process reads it when an account's first request of a day comes, and again every
minute, and adds what has ended in this process since. Until the next reading, each process may use an equal
share of what was left. If the ledger cannot be read, only what this process has counted is known.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TypeAlias

from tessera.core.budgets import Spent, TokenBudget, all_spent
from tessera.core.usage import Usage, day_of
from tessera.observe.logs import log

FRESH_S = 60.0
RETRY_S = 5.0
FORGET_S = 3600.0

ReadSpent: TypeAlias = Callable[[str], Awaitable[Mapping[str, Spent]]]
"""Reads what an account has spent, by the ids of its keys. Raises `StoreUnavailable`."""

_logger = logging.getLogger(__name__)


async def nothing_spent(account_id: str) -> Mapping[str, Spent]:
    """A `ReadSpent` where no usage is recorded."""
    return {}


async def spent_or_none(read: ReadSpent, account_id: str) -> Mapping[str, Spent] | None:
    """What the account has spent; None, and a line in the log, if that cannot be read now."""
    try:
        return await read(account_id)
    except Exception as error:  # of any class: no request fails because of it
        reason = type(error).__name__
        log(_logger, "warning", "usage cannot be read: budgets count without it", reason=reason)
        return None


class Spending:
    """What one account has spent, by key: what was read at `read_s`, and what has been counted since."""

    def __init__(self, day: str) -> None:
        self.read_s = -math.inf
        self.reading: asyncio.Task[None] | None = None
        self._day = day
        self._read: Mapping[str, Spent] = {}
        self._since: dict[str, Spent] = {}
        self._during: dict[str, Spent] = {}

    def move_to(self, day: str) -> None:
        """Keeps only what belongs to this day and its month; a new day must be read."""
        if day == self._day:
            return
        is_same_month = day[:7] == self._day[:7]
        self._read, self._since, self._during = (
            {key: Spent(month=spent.month) for key, spent in by_key.items()} if is_same_month else {}
            for by_key in (self._read, self._since, self._during)
        )
        self._day = day
        self.read_s = -math.inf

    def begin_reading(self) -> None:
        """What is counted from now on may be missing in what is read."""
        self._during = {}

    def replace(self, read: Mapping[str, Spent], read_s: float) -> None:
        """The reading that began last has ended."""
        self._read = read
        self._since = self._during
        self._during = {}
        self.read_s = read_s

    def count(self, key_id: str, day: str, used: Usage) -> None:
        """Counts a request that began on that day."""
        today = used if day == self._day else Usage()
        this_month = used if day[:7] == self._day[:7] else Usage()
        for counts in (self._since, self._during):
            counts[key_id] = counts.get(key_id, Spent()) + Spent(today, this_month)

    def used_up(self, budgets: Iterable[TokenBudget], *, thinks: bool, n: int) -> TokenBudget | None:
        """The first budget of which nothing is left for one of `n` processes."""
        for budget in budgets:
            if budget.counted == "reasoning" and not thinks:
                continue
            left_tokens = budget.limit_tokens - all_spent(self._read, budget).tokens(budget)
            since_tokens = all_spent(self._since, budget).tokens(budget)
            if left_tokens <= 0 or since_tokens >= max(1, left_tokens // n):
                return budget
        return None


class Spendings:
    """The spending of the accounts that have budgets, by their ids. Of others, the ledger alone counts."""

    def __init__(self, read: ReadSpent, clock: Callable[[], float], calendar: Callable[[], float]) -> None:
        """`clock` returns monotonic seconds, `calendar` Unix time."""
        self._read = read
        self._clock = clock
        self._calendar = calendar
        self.accounts: dict[str, Spending] = {}

    async def of(self, account_id: str) -> Spending:
        """Waits only for the first reading of a day; later ones go on in the background."""
        spending = self.accounts.setdefault(account_id, Spending(day_of(self._calendar())))
        while True:  # once more if the day changes during the first reading
            day = day_of(self._calendar())
            spending.move_to(day)
            if self._clock() - spending.read_s < FRESH_S:
                return spending
            if spending.reading is None or spending.reading.done():
                spending.reading = asyncio.create_task(self._read_again(account_id, spending, day))
            if spending.read_s != -math.inf:
                return spending
            await asyncio.shield(spending.reading)

    def forget_old(self) -> None:
        """Drops accounts without requests: they are read again when one comes."""
        oldest_s = self._clock() - FORGET_S
        for account_id, spending in list(self.accounts.items()):
            if spending.read_s < oldest_s and (spending.reading is None or spending.reading.done()):
                del self.accounts[account_id]

    async def aclose(self) -> None:
        tasks = [spending.reading for spending in self.accounts.values() if spending.reading]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _read_again(self, account_id: str, spending: Spending, day: str) -> None:
        spending.begin_reading()
        read = await spent_or_none(self._read, account_id)
        if read is None:
            spending.read_s = self._clock() - FRESH_S + RETRY_S
        elif day_of(self._calendar()) == day:
            spending.replace(read, self._clock())
