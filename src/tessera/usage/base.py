"""What a ledger is: where the usage of requests is recorded. And the one that keeps nothing."""

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeAlias

from tessera.core.usage import LedgerEntry, UsageQuestion, UsageSum
from tessera.errors import StoreUnavailable

Look: TypeAlias = Callable[[], LedgerEntry]
"""Gives the entry of a running request as it is now."""

Written: TypeAlias = asyncio.Future[StoreUnavailable | None]
"""Done when an entry is durable, or with why it is not. Nothing is undone when it is cancelled."""


class Ledger(Protocol):
    """Where the usage of requests is recorded."""

    def open(self, id: str, look: Look) -> Written:
        """A request begins; that it runs is to be on record before anybody sees anything of its reply."""
        ...

    def settle(self, entry: LedgerEntry) -> Written:
        """It has ended."""
        ...

    async def add_up(self, question: UsageQuestion) -> list[UsageSum]:
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

    def open(self, id: str, look: Look) -> Written:
        """See `Ledger`."""
        return at_once(None)

    def settle(self, entry: LedgerEntry) -> Written:
        """See `Ledger`."""
        return at_once(None)

    async def add_up(self, question: UsageQuestion) -> list[UsageSum]:
        """See `Ledger`."""
        return []

    async def start(self) -> None:
        """See `Ledger`."""

    async def aclose(self) -> None:
        """See `Ledger`."""


def at_once(failure: StoreUnavailable | None) -> Written:
    """What is known already."""
    written: Written = asyncio.get_running_loop().create_future()
    written.set_result(failure)
    return written
