"""One request's entry in the ledger, from the moment it is admitted to its end."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from types import TracebackType

from tessera.core.entry import OPEN, Entry
from tessera.errors import StoreUnavailable
from tessera.usage.base import Ledger, Written
from tessera.usage.meter import Meter


class Recording:
    """Entered around the work on a request, which goes on while the entry is opened. However it ends, it is
    settled.
    """

    def __init__(self, ledger: Ledger, meter: Meter, blank: Entry) -> None:
        """`blank` says whose request it is; what it took is the meter's to know."""
        self._ledger = ledger
        self._meter = meter
        self._blank = blank
        self._settling: Written | None = None

    async def __aenter__(self) -> None:
        """Open the entry."""
        self._opening = self._ledger.open(self._blank.id, self._now)

    async def opened(self) -> None:
        """Return when the entry is durable; raises `StoreUnavailable`."""
        # A beat that is cut off while it waits must not end it for the write after it.
        if failure := await asyncio.shield(self._opening):
            raise failure

    async def settle(self) -> None:
        """Return when the end is durable; raises `StoreUnavailable`."""
        self._settling = self._ledger.settle(self._ended())
        if failure := await self._settling:
            raise failure

    async def settle_anyway(self) -> None:
        """Return when the end is durable, or cannot be."""
        if not self._settling:
            with suppress(StoreUnavailable):
                await self.settle()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Settle what did not come to a good end."""
        if error is not None:
            self._meter.fail_of(error)
        await self.settle_anyway()

    def _now(self, finish: str = OPEN, whole_s: float | None = None) -> Entry:
        meter = self._meter
        return replace(
            self._blank,
            usage=meter.tally.usage,
            finish=finish,
            waited_s=meter.waited_s,
            first_token_s=meter.first_token_s,
            whole_s=whole_s,
        )

    def _ended(self) -> Entry:
        return self._now(self._meter.outcome, self._meter.age_s)
