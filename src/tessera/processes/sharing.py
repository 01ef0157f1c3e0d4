"""What accounts share, such as processes: what one account does with it does not keep the others waiting."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Hashable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from tessera.processes.fair_queue import FairQueue

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class _Borrower(Generic[T]):
    account: Hashable
    item: asyncio.Future[T]


class Shared(Generic[T]):
    """Items that are lent one by one. Accounts take turns; no account has all items at once, if there are
    several, so that the next account finds one.

    It belongs to one event loop.
    """

    def __init__(self, items: Iterable[T]) -> None:
        self._free = [*items]
        self._most = max(1, len(self._free) - 1)
        self._held: Counter[Hashable] = Counter()
        self._waiting: FairQueue[Hashable, _Borrower[T]] = FairQueue()

    @property
    def n_waiting(self) -> int:
        return len(self._waiting)

    @asynccontextmanager
    async def lend(self, account: Hashable | None, wait_s: float | None = None) -> AsyncGenerator[T]:
        """An item, for as long as the context lasts; None is an account of its own each time. The item that
        was given back last is lent first.

        Raises `TimeoutError` if the account's turn does not come within `wait_s`.
        """
        account = object() if account is None else account
        item = await self._take(account, wait_s)
        try:
            yield item
        finally:
            self._give_back(account, item)

    async def _take(self, account: Hashable, wait_s: float | None) -> T:
        borrower: _Borrower[T] = _Borrower(account, asyncio.get_running_loop().create_future())
        self._waiting.add(account, borrower)
        self._hand_out()
        try:
            return await asyncio.wait_for(asyncio.shield(borrower.item), wait_s)
        except BaseException:
            if borrower.item.done():
                self._give_back(account, borrower.item.result())
            else:
                self._waiting.remove(account, borrower)
            raise

    def _give_back(self, account: Hashable, item: T) -> None:
        self._held[account] -= 1
        if not self._held[account]:
            del self._held[account]
        self._free.append(item)
        self._waiting.defer(account)  # behind all that have waited meanwhile
        self._hand_out()

    def _hand_out(self) -> None:
        while self._free:
            first = self._waiting.first_items()
            borrower = next((each for each in first if self._held[each.account] < self._most), None)
            if borrower is None:
                return
            self._waiting.take(borrower.account, borrower)
            self._held[borrower.account] += 1
            borrower.item.set_result(self._free.pop())
