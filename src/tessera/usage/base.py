"""How usage is recorded: the protocol of a ledger, a ledger that keeps nothing, and a request's entry."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Protocol, Self, TypeAlias

from tessera.core.budgets import Spent
from tessera.core.record import RequestRecord, RequestStep
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

    async def spent(self, account_id: str) -> Mapping[str, Spent]:
        """What the account has spent today and this month, by the ids of its keys; raises
        `StoreUnavailable`.
        """
        ...

    def unready(self) -> str | None:
        """None while usage can be recorded, else a reason such as `store_unavailable`."""
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

    async def spent(self, account_id: str) -> Mapping[str, Spent]:
        return {}

    def unready(self) -> str | None:
        return None

    async def start(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


def resolved(failure: StoreUnavailable | None) -> Written:
    """A write whose outcome is known already."""
    written: Written = asyncio.get_running_loop().create_future()
    written.set_result(failure)
    return written


class OpenEntry:
    """One request's entry in the ledger. Entering opens it, without a wait until that is durable. Leaving
    settles it, however the request has ended.
    """

    def __init__(self, ledger: Ledger, record: RequestRecord) -> None:
        self._ledger = ledger
        self._record = record
        self._settling: Written | None = None

    async def __aenter__(self) -> Self:
        asked = self._record.asked
        assert asked is not None, "read"
        self._opening = self._ledger.open(asked.reply_id, lambda: self._record.entry(ended=False))
        return self

    async def opened(self) -> None:
        """Returns when the entry is durable; raises `StoreUnavailable`."""
        if failure := await asyncio.shield(self._opening):
            raise failure

    async def settle(self) -> None:
        """Returns when the end is durable; raises `StoreUnavailable`."""
        self._record.reach(RequestStep.FINISHED)
        self._settling = self._ledger.settle(self._record.entry(ended=True))
        if failure := await self._settling:
            raise failure
        self._record.reach(RequestStep.SETTLED)

    async def settle_anyway(self) -> None:
        """Returns when the end is durable, or cannot be."""
        if not self._settling:
            with suppress(StoreUnavailable):
                await self.settle()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._record.fail(error)
        await self.settle_anyway()
