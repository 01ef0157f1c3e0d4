"""Whose turn it is, among accounts that wait for the same thing.

The next item is one of the account that holds the least; among accounts that hold the same, they take turns.
An account that arrives joins behind those that wait already, so that nobody is overtaken more than once by
each of the others. Items of one account keep their order.
"""

from collections.abc import Mapping
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """A queue of items, each of which belongs to an account."""

    def __init__(self) -> None:
        self._items: dict[str, dict[T, None]] = {}  # accounts in the order of their turns
        self._n = 0

    def __len__(self) -> int:
        return self._n

    def add(self, account: str, item: T) -> None:
        """Put the item behind the others of its account."""
        self._items.setdefault(account, {})[item] = None
        self._n += 1

    def next(self, held: Mapping[str, int]) -> T:
        """The item whose turn it is, which stays; `held` is what accounts have by now. There must be one."""
        account = min(self._items, key=lambda account: held.get(account, 0))
        return next(iter(self._items[account]))

    def take(self, account: str, item: T) -> None:
        """The item has its turn: others of its account wait behind those of all other accounts."""
        self.remove(account, item)
        if account in self._items:
            self._items[account] = self._items.pop(account)

    def remove(self, account: str, item: T) -> None:
        """The item waits no more. It must be there."""
        items = self._items[account]
        del items[item]
        self._n -= 1
        if not items:
            del self._items[account]

    def first_items(self, held: Mapping[str, int] | None = None) -> list[T]:
        """The first item of each account, in the order of their turns."""
        accounts = sorted(self._items, key=lambda account: held.get(account, 0)) if held else self._items
        return [next(iter(self._items[account])) for account in accounts]

    def n_of(self, account: str) -> int:
        """Items of that account."""
        return len(self._items.get(account, ()))

    def largest(self) -> tuple[str, T]:
        """The account with the most items, and the latest of them. There must be one."""
        account = max(self._items, key=lambda account: len(self._items[account]))
        return account, next(reversed(self._items[account]))
