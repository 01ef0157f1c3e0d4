"""What a ledger is: where the usage of requests is recorded. And the one that keeps nothing."""

from collections.abc import Callable
from typing import Protocol, TypeAlias

from tessera.core.entry import Entry
from tessera.store.usage import Question, Sum

Look: TypeAlias = Callable[[], Entry]
"""Gives the entry of a running request as it is now."""


class Ledger(Protocol):
    """Where the usage of requests is recorded."""

    async def open(self, look: Look) -> None:
        """A request begins. Returns when its entry is durable; raises `StoreUnavailable`."""
        ...

    async def settle(self, entry: Entry) -> None:
        """It has ended. Returns when that is durable; raises `StoreUnavailable`. The entry is on its way once
        this has been called, even if the caller is cancelled.
        """
        ...

    async def add_up(self, question: Question) -> list[Sum]:
        """What was recorded; raises `StoreUnavailable`."""
        ...

    async def start(self) -> None:
        """Called in the loop that requests will come from."""
        ...

    async def aclose(self) -> None:
        """Write what is still to be written."""
        ...


class Unrecorded:
    """A `Ledger` that keeps nothing: for programs that build the application without a store."""

    async def open(self, look: Look) -> None:
        """See `Ledger`."""

    async def settle(self, entry: Entry) -> None:
        """See `Ledger`."""

    async def add_up(self, question: Question) -> list[Sum]:
        """See `Ledger`."""
        return []

    async def start(self) -> None:
        """See `Ledger`."""

    async def aclose(self) -> None:
        """See `Ledger`."""
