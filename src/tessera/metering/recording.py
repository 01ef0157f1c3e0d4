"""One request's entry in the ledger, from the moment it is admitted to its end."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from types import TracebackType

from tessera.core.entry import Entry
from tessera.errors import StoreUnavailable
from tessera.metering.base import Ledger
from tessera.metering.meter import Meter


class Recording:
    """Entered around the work on a request, which goes on while the entry is opened. However it ends, it is
    settled.
    """

    def __init__(self, ledger: Ledger, meter: Meter, blank: Entry) -> None:
        """`blank` says whose request it is; what it took is the meter's to know."""
        self._ledger = ledger
        self._meter = meter
        self._blank = blank
        self._is_settled = False

    async def __aenter__(self) -> None:
        """Begin to open the entry."""
        self._opening = self._ledger.open(self._now)

    async def opened(self) -> None:
        """Return when the entry is durable; raises `StoreUnavailable`."""
        if failure := await asyncio.shield(self._opening):  # more than one may wait for it
            raise failure

    async def settle(self) -> None:
        """Return when the end is durable; raises `StoreUnavailable`."""
        self._is_settled = True
        if failure := await self._ledger.settle(self._ended()):
            raise failure

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Settle what did not come to a good end."""
        if self._is_settled:
            return
        if error is not None:
            self._meter.fail_of(error)
        with suppress(StoreUnavailable):
            await self.settle()

    def _now(self) -> Entry:
        meter = self._meter
        return replace(
            self._blank,
            usage=meter.tally.usage,
            waited_s=meter.waited_s,
            first_token_s=meter.first_token_s,
        )

    def _ended(self) -> Entry:
        return replace(self._now(), finish=self._meter.outcome, whole_s=self._meter.age_s)
