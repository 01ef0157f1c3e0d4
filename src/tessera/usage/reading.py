"""Usage as it is read from the store: in threads, with a timeout.

The questions of clients have a thread of their own, in which accounts take turns. However many there are,
what accounts have spent of their budgets is still read.
"""

import time
from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial

from tessera.core.budgets import Spent
from tessera.core.usage import UsageQuestion, UsageSum
from tessera.errors import StoreUnavailable
from tessera.processes.sharing import FairPool
from tessera.store import usage
from tessera.store.database import Database, transaction
from tessera.store.threads import call_within, shut_down
from tessera.usage.spent import SpentReader

READING_WAIT_S = 5.0


class UsageReader:
    """The methods raise `StoreUnavailable`."""

    def __init__(self, store: Database, threads: Executor) -> None:
        self._store = store
        self._threads = threads
        self._thread = ThreadPoolExecutor(1, "questions")
        self._turns = FairPool([self._thread])
        self._spent = SpentReader()

    async def add_up(self, question: UsageQuestion) -> list[UsageSum]:
        try:
            async with self._turns.lend(question.account, READING_WAIT_S) as thread:
                return await call_within(thread, partial(self._add_up, question), READING_WAIT_S)
        except TimeoutError:
            raise StoreUnavailable(
                "Too many questions about usage wait. Send the request again.", retry_after_s=1
            ) from None

    async def spent(self, account_id: str) -> Mapping[str, Spent]:
        """What the account has spent of its budgets, by the ids of its keys."""
        return await call_within(self._threads, partial(self._read_spent, account_id), READING_WAIT_S)

    async def aclose(self) -> None:
        await shut_down(self._thread)

    def _add_up(self, question: UsageQuestion) -> list[UsageSum]:
        with transaction(self._store) as connection:
            return usage.add_up(connection, question)

    def _read_spent(self, account_id: str) -> Mapping[str, Spent]:
        with transaction(self._store) as connection:
            return self._spent.read(connection, [account_id], time.time())[account_id]
