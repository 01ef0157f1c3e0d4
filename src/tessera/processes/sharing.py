"""What accounts share, such as processes: what one account does with it does not keep the others waiting."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, Hashable, Iterable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Shared(Generic[T]):
    """Items that are lent one by one. Accounts take turns; no account has all items at once, if there are
    several, so that the next account finds one.

    It belongs to one event loop.
    """

    def __init__(self, items: Iterable[T]) -> None:
        self._free = [*items]
        self._most = max(1, len(self._free) - 1)
        self._held: Counter[Hashable] = Counter()
        # By account, the next one to be served first.
        self._waiting: dict[Hashable, deque[asyncio.Future[T]]] = {}

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
        turn: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(account, deque()).append(turn)
        self._hand_out()
        try:
            return await asyncio.wait_for(asyncio.shield(turn), wait_s)
        except BaseException:
            if turn.done():
                self._give_back(account, turn.result())
            else:
                self._forget(account, turn)
            raise

    def _give_back(self, account: Hashable, item: T) -> None:
        self._held[account] -= 1
        if not self._held[account]:
            del self._held[account]
        self._free.append(item)
        if account in self._waiting:  # behind all that have waited meanwhile
            self._waiting[account] = self._waiting.pop(account)
        self._hand_out()

    def _hand_out(self) -> None:
        while self._free:
            account = next((each for each in self._waiting if self._held[each] < self._most), None)
            if account is None:
                return
            turn = self._waiting[account][0]
            self._forget(account, turn)
            if account in self._waiting:
                self._waiting[account] = self._waiting.pop(account)
            self._held[account] += 1
            turn.set_result(self._free.pop())

    def _forget(self, account: Hashable, turn: "asyncio.Future[T]") -> None:
        turns = self._waiting[account]
        turns.remove(turn)
        if not turns:
            del self._waiting[account]
