"""What accounts share, so that what one of them asks for does not keep the others waiting: a queue in which
they take turns (`FairQueue`), items that are lent in an event loop (`FairPool`), and threads (`FairThreads`).
"""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Hashable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

A = TypeVar("A", bound=Hashable)
T = TypeVar("T")
Result = TypeVar("Result")


class FairQueue(Generic[A, T]):
    """A queue of items, each of which belongs to an account: the order in which accounts get what they all
    wait for.

    The next item is one of the account that holds the least; accounts that hold the same take turns. An
    account that arrives joins behind those that wait already: so each other account overtakes it once at
    most. Items of one account keep their order.
    """

    def __init__(self) -> None:
        self._items: dict[A, dict[T, None]] = {}  # accounts in the order of their turns
        self._n = 0

    def __len__(self) -> int:
        return self._n

    def add(self, account: A, item: T) -> None:
        """Puts the item behind the others of its account."""
        self._items.setdefault(account, {})[item] = None
        self._n += 1

    def next(self, held: Mapping[A, int]) -> T:
        """The item whose turn it is; it stays in the queue, which must not be empty. `held` is what accounts
        hold now.
        """
        account = min(self._items, key=lambda account: held.get(account, 0))
        return next(iter(self._items[account]))

    def take(self, account: A, item: T) -> None:
        """Removes an item that has its turn: the rest of its account goes behind all other accounts."""
        self.remove(account, item)
        self.defer(account)

    def take_next(self, held: Mapping[A, int], most: int) -> tuple[A, T] | None:
        """Removes the next item of an account that holds fewer than `most`, and returns it with its account;
        None if there is none.
        """
        for account, items in self._items.items():
            if held.get(account, 0) < most:
                item = next(iter(items))
                self.take(account, item)
                return account, item
        return None

    def defer(self, account: A) -> None:
        """Puts the account, if it waits, behind all other accounts."""
        if account in self._items:
            self._items[account] = self._items.pop(account)

    def remove(self, account: A, item: T) -> None:
        """Removes an item, which must be there."""
        items = self._items[account]
        del items[item]
        self._n -= 1
        if not items:
            del self._items[account]

    def first_items(self, held: Mapping[A, int] | None = None) -> list[T]:
        """The first item of each account, in the order of their turns."""
        accounts = sorted(self._items, key=lambda account: held.get(account, 0)) if held else self._items
        return [next(iter(self._items[account])) for account in accounts]

    def n_of(self, account: A) -> int:
        return len(self._items.get(account, ()))

    def largest(self) -> tuple[A, T]:
        """The account with the most items, and the latest of these. The queue must not be empty."""
        account = max(self._items, key=lambda account: len(self._items[account]))
        return account, next(reversed(self._items[account]))


class FairPool(Generic[T]):
    """Items that are lent one by one. Accounts take turns; no account has all items at once, if there are
    several, so that the next account finds one.

    It belongs to one event loop.
    """

    def __init__(self, items: Iterable[T]) -> None:
        self._free = [*items]
        self._most = max(1, len(self._free) - 1)
        self._held: Counter[Hashable] = Counter()
        self._waiting: FairQueue[Hashable, asyncio.Future[T]] = FairQueue()

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
        lent: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.add(account, lent)
        self._hand_out()
        try:
            yield await asyncio.wait_for(asyncio.shield(lent), wait_s)
        finally:
            # The item may have been lent in the moment in which the wait was given up.
            if lent.done():
                self._give_back(account, lent.result())
            else:
                self._waiting.remove(account, lent)

    def _give_back(self, account: Hashable, item: T) -> None:
        self._held[account] -= 1
        if not self._held[account]:
            del self._held[account]
        self._free.append(item)
        self._waiting.defer(account)  # behind all that have waited meanwhile
        self._hand_out()

    def _hand_out(self) -> None:
        while self._free and (taken := self._waiting.take_next(self._held, self._most)):
            account, lent = taken
            self._held[account] += 1
            lent.set_result(self._free.pop())


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    run: Callable[[], None]


class FairThreads:
    """Threads that do jobs. Accounts take turns; no account has all threads at once, if there are several."""

    def __init__(self, n_threads: int, name: str, initializer: Callable[[], None] | None = None) -> None:
        """`name` is the threads'; each calls `initializer` when it starts."""
        self._threads = ThreadPoolExecutor(n_threads, name, initializer)
        self._most = max(1, n_threads - 1)
        self._lock = threading.Lock()
        self._waiting: FairQueue[bytes, _Job] = FairQueue()
        self._running: Counter[bytes] = Counter()

    def submit(self, account: bytes, job: Callable[[], None]) -> None:
        """Queues a job, which must not raise."""
        with self._lock:
            self._waiting.add(account, _Job(job))
        self._threads.submit(self._work)

    def call(self, account: bytes, work: Callable[[], Result]) -> Future[Result]:
        """Queues a job with a result. If the future is cancelled before its turn, it is not done."""
        future: Future[Result] = Future()

        def job() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except Exception as error:
                    future.set_exception(error)

        self.submit(account, job)
        return future

    def _work(self) -> None:
        """Does jobs as long as there are any. A job is left only to a thread that runs for its account."""
        while taken := self._take():
            account, job = taken
            try:
                job.run()
            finally:
                with self._lock:
                    self._running[account] -= 1
                    if not self._running[account]:
                        del self._running[account]

    def _take(self) -> tuple[bytes, _Job] | None:
        with self._lock:
            taken = self._waiting.take_next(self._running, self._most)
            if taken:
                self._running[taken[0]] += 1
            return taken
