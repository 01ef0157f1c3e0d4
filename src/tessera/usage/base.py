"""The protocol of a ledger, which records the usage of requests; and a ledger that keeps nothing."""

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeAlias

from tessera.core.usage import LedgerEntry, UsageQuestion, UsageSum
from tessera.errors import StoreUnavailable

CurrentEntry: TypeAlias = Callable[[], LedgerEntry]
"""Returns the entry of a running request as it is now."""

Written: TypeAlias = asyncio.Future[StoreUnavailable | None]
"""Resolves to None once an entry is durable, else to the error. Cancelling it does not cancel the write."""


class Ledger(Protocol):
    """Where the usage of requests is recorded."""

    def open(self, id: str, current: CurrentEntry) -> Written:
        """A request has started. Its client must see nothing of the reply before this is durable."""
        ...

    def settle(self, entry: LedgerEntry) -> Written:
        """A request has ended, as the entry says."""
        ...

    async def add_up(self, question: UsageQuestion) -> list[UsageSum]:
        """Adds up what was recorded; raises `StoreUnavailable`."""
        ...

    async def start(self) -> None:
        """Called in the event loop that requests will come from."""
        ...

    async def aclose(self) -> None:
        """Writes what is still to be written."""
        ...


class Unrecorded:
    """A `Ledger` that keeps nothing: for programs that build the application without a store."""

    def open(self, id: str, current: CurrentEntry) -> Written:
        return resolved(None)

    def settle(self, entry: LedgerEntry) -> Written:
        return resolved(None)

    async def add_up(self, question: UsageQuestion) -> list[UsageSum]:
        return []

    async def start(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


def resolved(failure: StoreUnavailable | None) -> Written:
    """A write whose outcome is known already."""
    written: Written = asyncio.get_running_loop().create_future()
    written.set_result(failure)
    return written
