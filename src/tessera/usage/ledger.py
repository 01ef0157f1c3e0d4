"""Usage on record: that a request runs, before the first byte of its reply is sent; how it ended, before the
last.

That it runs is written to a file of this instance's own, how it ended to the store. There one thread writes;
whatever is waiting goes into one transaction, so that many requests share a commit. While the store is away
entries go to the spool, and from there to the store when it is back; an entry may be written any number of
times. What runs is written again every few seconds, to both, and so is that this instance lives: what a dead
one left open is closed as `interrupted` by the others, or by the next.
"""

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tessera.core.usage import OPEN, LedgerEntry, UsageQuestion, UsageSum
from tessera.errors import StoreUnavailable
from tessera.observe.logs import log
from tessera.observe.metrics import Metrics, StoreCall
from tessera.store import usage
from tessera.store.asking import ask
from tessera.store.opening import Line, Store, transaction
from tessera.usage.base import Look, Written, at_once
from tessera.usage.journal.files import new_instance
from tessera.usage.heartbeat import Round
from tessera.usage.retention import keep_rolling_up
from tessera.usage.journal.running import Running, Slots
from tessera.usage.journal.spool import Spool
from tessera.usage.writer import Done, Work, Writer

MAX_WAITING = 10_000
PAUSE_S = 0.001
"""Between two commits: under load, what comes in this time shares the next."""

STORE_WAIT_S = 3.0
"""Entries that wait longer for the store go to the spool."""

READING_WAIT_S, ROUND_S, ROUND_WHILE_AWAY_S = 5.0, 5.0, 1.0

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Waiting:
    entry: LedgerEntry
    since_s: float
    written: Written


class SqlLedger:
    """A `Ledger` in the store."""

    def __init__(
        self, store: Store, folder: Path, metrics: Metrics, retention_days: int = 90, round_s: float = ROUND_S
    ) -> None:
        """`folder` is for the instance's own files. Rows of requests are kept for `retention_days`, then
        sums of their days.
        """
        self.instance = new_instance()
        self._store = store
        self._line = Line(store)
        self._folder = folder
        self._metrics = metrics
        self._retention_days = retention_days
        self._round = Round(store, folder, self.instance, retention_days)
        self._round_s = round_s
        self._running = Running()
        self._waiting: list[_Waiting] = []
        self._batch: list[_Waiting] = []
        self._is_busy = False
        self._answered_s = 0.0
        self._is_away = self._is_failing = False
        self._writer = Writer()
        self._readers = ThreadPoolExecutor(2, "usage")  # not the loop's, which the spool needs
        self._spool: Spool | None = None

    def open(self, id: str, look: Look) -> Written:
        """See `Ledger`."""
        # Where no end can be recorded nothing should begin: then it is tried before any work is done.
        is_written = not self._is_failing and self._running.begin(id, look)
        return at_once(None) if is_written else self._record(look())

    def settle(self, entry: LedgerEntry) -> Written:
        """See `Ledger`."""
        self._running.end(entry)
        return self._record(entry)

    async def add_up(self, question: UsageQuestion) -> list[UsageSum]:
        """See `Ledger`."""
        return await ask(self._readers, partial(self._add_up, question), READING_WAIT_S)

    async def start(self) -> None:
        """See `Ledger`."""
        try:
            self._running.slots = await asyncio.to_thread(Slots, self._folder, self.instance)
            self._spool = await asyncio.to_thread(Spool, self._folder, self.instance)
        except OSError as error:
            log(
                _logger,
                "warning",
                "no folder for usage: without the store there is no service",
                reason=error.strerror,
            )
        self._writer.start()
        rolling_up = keep_rolling_up(self._store, self._readers, self._retention_days, self._round_s)
        self._tasks = [asyncio.create_task(self._go_round()), asyncio.create_task(rolling_up)]

    async def aclose(self) -> None:
        """See `Ledger`."""
        while waiting := [each.written for each in (*self._batch, *self._waiting)]:
            await asyncio.wait(waiting)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._ask_store("round", self._leave)
        for file in (self._spool, self._running.slots):
            if file:
                await asyncio.to_thread(file.close)
        self._writer.end()
        self._readers.shutdown(wait=False, cancel_futures=True)

    def _record(self, entry: LedgerEntry) -> Written:
        if len(self._waiting) >= MAX_WAITING:
            self._is_failing = True
            return at_once(StoreUnavailable("Too much usage waits to be recorded. Send the request again."))
        written: Written = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(entry, time.monotonic(), written))
        self._go_on()
        return written

    def _go_on(self) -> None:
        """Have what waits written next, unless something is being written, or is about to be."""
        if self._waiting and not self._is_busy:
            self._is_busy = True
            loop = asyncio.get_running_loop()
            loop.call_later(max(0.0, self._answered_s + PAUSE_S - time.monotonic()), self._hand_over)

    def _hand_over(self) -> None:
        """All that waits is one batch."""
        self._batch, self._waiting = self._waiting, []
        if self._is_away:
            self._setting_aside = asyncio.create_task(self._set_aside())
            return
        entries = [each.entry for each in self._batch]
        self._ask("usage", partial(self._write, entries)).add_done_callback(self._written)

    def _written(self, writing: Done) -> None:
        if failure := writing.result():
            self._miss(failure)
            self._setting_aside = asyncio.create_task(self._set_aside())
        else:
            self._answer(None)

    async def _set_aside(self) -> None:
        """Make entries durable without the store."""
        failure = None
        if self._spool is None:
            failure = StoreUnavailable("Usage cannot be recorded now. Send the request again.")
        else:
            try:
                await asyncio.to_thread(self._spool.append, [each.entry for each in self._batch])
            except StoreUnavailable as error:
                failure = error
        self._answer(failure)

    def _answer(self, failure: StoreUnavailable | None) -> None:
        """The batch is on record, or failed."""
        self._answered_s = time.monotonic()
        self._is_failing = failure is not None
        self._metrics.ledger_lag_s.observe(self._answered_s - self._batch[0].since_s)
        for each in self._batch:
            if failure is None:
                self._forget(each.entry)
            if not each.written.done():
                each.written.set_result(failure)
        self._batch, self._is_busy = [], False
        self._go_on()

    def _forget(self, recorded: LedgerEntry) -> None:
        if recorded.finish != OPEN:
            self._running.forget(recorded.id)

    async def _go_round(self) -> None:
        while True:
            entries = self._running.entries()
            is_done = await self._ask_store("round", partial(self._round.make, entries))
            self._turn(away=not is_done)
            for entry in entries if is_done else ():
                self._forget(entry)
            while not self._is_away and self._n_spooled:  # what comes now is not spooled: it has an end
                await self._ask_store("round", self._write_spooled)
            self._metrics.spooled.set(self._n_spooled)
            await asyncio.sleep(ROUND_WHILE_AWAY_S if self._is_away else self._round_s)

    async def _ask_store(self, call: StoreCall, work: Work) -> bool:
        """Do it in the thread, and say whether it was done in time."""
        if failure := await self._ask(call, work):
            self._miss(failure)
        return failure is None

    def _ask(self, call: StoreCall, work: Work) -> Done:
        begun_s, asked = time.monotonic(), self._writer.do(work, STORE_WAIT_S)
        took_s = self._metrics.store_call_s.labels(call)
        asked.add_done_callback(lambda _: took_s.observe(time.monotonic() - begun_s))
        return asked

    def _miss(self, failure: Exception) -> None:
        """The store did not do it; whatever it is, requests go on."""
        self._metrics.ledger_failures.inc()
        if not self._is_away:
            log(_logger, "error", "usage cannot be written", reason=type(failure).__name__)
        self._turn(away=True)

    def _turn(self, *, away: bool) -> None:
        self._is_away = away
        self._metrics.store_up.set(not away)

    def _write(self, entries: list[LedgerEntry]) -> None:
        usage.write_down(self._line, self.instance, entries)

    @property
    def _n_spooled(self) -> int:
        return self._spool.n_entries if self._spool else 0

    def _write_spooled(self) -> None:
        if self._spool:
            entries, n_bytes = self._spool.read()
            self._write(entries)
            self._spool.forget(len(entries), n_bytes)

    def _leave(self) -> None:
        try:
            while self._n_spooled:
                self._write_spooled()
            with transaction(self._store) as connection:
                usage.bury(connection, self.instance)
        finally:
            self._line.close()

    def _add_up(self, question: UsageQuestion) -> list[UsageSum]:
        with transaction(self._store) as connection:
            return usage.add_up(connection, question)
