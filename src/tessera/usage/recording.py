"""The reader of request records that writes them into the ledger: opened when a request has started, settled
when it has ended.
"""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self

from tessera.core.record import RequestRecord, RequestStep
from tessera.errors import StoreUnavailable
from tessera.usage.base import Ledger, Written


class OpenEntry:
    """One request's entry in the ledger. Entered around the making of its reply, which does not wait for the
    entry to be opened; left, the entry is settled, however the request has ended.
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
        # Shielded: a keep-alive that is cancelled while it waits must not cancel it for the next write.
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
