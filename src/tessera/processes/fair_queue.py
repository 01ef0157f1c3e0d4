"""A queue that is fair to accounts: the order in which accounts get what they all wait for.

The next item is one of the account that holds the least; accounts that hold the same take turns. An account
that arrives joins behind those that wait already: so each other account overtakes it once at most. Items of
one account keep their order.
"""

from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

A = TypeVar("A", bound=Hashable)
T = TypeVar("T")


class FairQueue(Generic[A, T]):
    """A queue of items, each of which belongs to an account."""

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
