"""The ledger in the store. That a request has started is durable before the first byte of its reply is sent;
how it ended, before the last byte.

- The start is written to a file of this instance (`usage/journal/running`), the end to the store.
- One thread writes to the store. All entries that wait go into one transaction: many requests share a commit.
- While the store is away entries go to the spool, and from there to the store when it is back. An
  entry may be written any number of times.
- While neither takes entries, as when the disk is full, the service is not ready and answers nothing.
- A heartbeat writes what runs again every few seconds, to both, and that this instance lives. The requests
  that a dead instance left open are closed as `interrupted` by the other instances, or by the next one.
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tessera.core.budgets import Spent
from tessera.core.usage import LedgerEntry, UsageQuestion, UsageSum
from tessera.errors import StoreUnavailable
from tessera.observe.logs import log
from tessera.observe.metrics import Metrics, StoreCall
from tessera.store import instances, usage
from tessera.store.database import Database, WriteConnection, transaction
from tessera.store.failures import reason_of
from tessera.store.threads import Done, Work, WriterThread, shut_down
from tessera.usage.base import CurrentEntry, Written, resolved
from tessera.usage.heartbeat import Heartbeat
from tessera.usage.journal.files import new_instance
from tessera.usage.journal.running import RunningRequests
from tessera.usage.journal.spool import Spool
from tessera.usage.reading import UsageReader
from tessera.usage.retention import keep_rolling_up
from tessera.usage.salvage import write_valid

MAX_WAITING = 10_000
PAUSE_S = 0.001
"""Between two commits: under load, entries that come in this time share the next one."""

STORE_WAIT_S = 3.0
"""Entries that wait longer for the store go to the spool."""

HEARTBEAT_S = 5.0
HEARTBEAT_WHILE_AWAY_S = 1.0

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Waiting:
    entry: LedgerEntry
    since_s: float
    written: Written


class SqlLedger:
    """A `Ledger` in the store."""

    def __init__(
        self,
        store: Database,
        folder: Path,
        metrics: Metrics,
        *,
        retention_days: int,
        heartbeat_s: float = HEARTBEAT_S,
        tiers: Sequence[str] = (),
    ) -> None:
        """`folder` is for the journal. Rows of requests are kept for `retention_days`, then sums of days.
        Heartbeats report the `tiers` that this process knows.
        """
        self._store = store
        self._connection = WriteConnection(store)
        self._metrics = metrics
        self._retention_days = retention_days
        self._instance = new_instance()
        self._running = RunningRequests(folder, self._instance)
        self._spool = Spool(folder, self._instance)
        self._heartbeat = Heartbeat(store, folder, self._instance, retention_days, tiers)
        self._heartbeat_s = heartbeat_s
        self._reaches_store = True  # the last call of the store succeeded
        self._records = True  # the last entries became durable, in the store or in the spool
        self._waiting: list[_Waiting] = []
        # The entries that are being written; empty while a write is about to begin, None while none is.
        self._batch: list[_Waiting] | None = None
        self._answered_s = 0.0
        self._thread = WriterThread()
        self._readers = ThreadPoolExecutor(2, "usage")  # not the loop's default, which the spool needs
        self._reader = UsageReader(store, self._readers)

    def open(self, id: str, current: CurrentEntry) -> Written:
        # Where no end can be recorded nothing should start: then writing is tried before any work is done.
        is_written = self._records and self._running.begin(id, current)
        return resolved(None) if is_written else self._record(current())

    def settle(self, entry: LedgerEntry) -> Written:
        self._running.end(entry)
        return self._record(entry)

    async def add_up(self, question: UsageQuestion) -> list[UsageSum]:
        return await self._reader.add_up(question)

    async def spent(self, account_id: str) -> Mapping[str, Spent]:
        return await self._reader.spent(account_id)

    def unready(self) -> str | None:
        return None if self._records else StoreUnavailable.default_code

    async def start(self) -> None:
        try:
            await asyncio.to_thread(self._open_files)
        except OSError as error:
            event = "no folder for usage: without the store there is no service"
            log(_logger, "warning", event, reason=error.strerror)
        self._thread.start()
        rolling_up = keep_rolling_up(self._store, self._readers, self._retention_days, self._heartbeat_s)
        self._tasks = [asyncio.create_task(self._keep_beating()), asyncio.create_task(rolling_up)]

    async def aclose(self) -> None:
        while waiting := [each.written for each in (*(self._batch or ()), *self._waiting)]:
            await asyncio.wait(waiting)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._call_store("round", self._leave)
        await asyncio.to_thread(self._close_files)
        self._thread.stop()
        await self._reader.aclose()
        await shut_down(self._readers)

    def _record(self, entry: LedgerEntry) -> Written:
        if len(self._waiting) >= MAX_WAITING:
            failure = StoreUnavailable("Too much usage waits to be recorded. Send the request again.")
            self._set_records(failure)
            return resolved(failure)
        written: Written = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(entry, time.monotonic(), written))
        self._schedule_write()
        return written

    def _schedule_write(self) -> None:
        if self._waiting and self._batch is None:
            self._batch = []
            pause_s = max(0.0, self._answered_s + PAUSE_S - time.monotonic())
            asyncio.get_running_loop().call_later(pause_s, self._write_batch)

    def _write_batch(self) -> None:
        """All entries that wait are one batch."""
        self._batch = self._waiting
        self._waiting = []
        entries = [each.entry for each in self._batch]
        if self._reaches_store:
            writing = self._submit("usage", partial(self._write, entries))
            writing.add_done_callback(partial(self._batch_written, self._batch))
        else:
            self._spooling = asyncio.create_task(self._write_to_spool(self._batch))

    def _batch_written(self, batch: list[_Waiting], writing: Done) -> None:
        if failure := writing.result():
            self._store_failed(failure)
            self._spooling = asyncio.create_task(self._write_to_spool(batch))
        else:
            self._resolve(batch, None)

    async def _write_to_spool(self, batch: list[_Waiting]) -> None:
        append = partial(self._spool.append, [each.entry for each in batch])
        self._resolve(batch, await self._spool_failure(append))

    async def _spool_failure(self, work: Work) -> StoreUnavailable | None:
        """Does the work on the spool; returns its failure."""
        try:
            await asyncio.to_thread(work)
        except StoreUnavailable as error:
            return error
        return None

    def _resolve(self, batch: list[_Waiting], failure: StoreUnavailable | None) -> None:
        """Ends the writing of a batch: it is durable, or `failure` says why it is not."""
        self._answered_s = time.monotonic()
        self._set_records(failure)
        self._metrics.ledger_lag_s.observe(self._answered_s - batch[0].since_s)
        for each in batch:
            if failure is None:
                self._running.forget(each.entry)
            if not each.written.done():
                each.written.set_result(failure)
        self._batch = None
        self._schedule_write()

    async def _keep_beating(self) -> None:
        while True:
            entries = self._running.rewrite()
            if await self._call_store("round", partial(self._heartbeat.beat, entries)):
                self._set_records(None)
                for entry in entries:
                    self._running.forget(entry)
            else:
                # Requests do not show whether the spool works: there may be none, and while it fails none is
                # answered.
                self._set_records(await self._spool_failure(self._spool.probe))
            # Entries that come meanwhile are not spooled, so this loop ends.
            while self._reaches_store and self._spool.n_entries:
                await self._call_store("round", self._unspool)
            self._metrics.spooled.set(self._spool.n_entries)
            await asyncio.sleep(self._heartbeat_s if self._reaches_store else HEARTBEAT_WHILE_AWAY_S)

    async def _call_store(self, call: StoreCall, work: Work) -> bool:
        """Does the work in the thread, and returns whether it succeeded in time."""
        if failure := await self._submit(call, work):
            self._store_failed(failure)
        else:
            self._set_reaches_store(True)
        return failure is None

    def _submit(self, call: StoreCall, work: Work) -> Done:
        begun_s = time.monotonic()
        submitted = self._thread.submit(work, STORE_WAIT_S)
        took_s = self._metrics.store_call_s.labels(call)
        submitted.add_done_callback(lambda _: took_s.observe(time.monotonic() - begun_s))
        return submitted

    def _store_failed(self, failure: Exception) -> None:
        """Whatever the error is, requests go on."""
        self._metrics.ledger_failures.inc()
        if self._reaches_store:
            log(_logger, "error", "usage cannot be written", reason=reason_of(failure))
        self._set_reaches_store(False)

    def _set_records(self, failure: StoreUnavailable | None) -> None:
        """`failure` is why the last entries could not be kept, or None."""
        if failure and self._records:
            log(_logger, "error", "usage cannot be kept, so nothing is answered", reason=reason_of(failure))
        elif failure is None and not self._records:
            log(_logger, "warning", "usage can be kept again")
        self._records = failure is None

    def _set_reaches_store(self, reached: bool) -> None:
        self._reaches_store = reached
        self._metrics.store_up.set(reached)

    def _write(self, entries: Sequence[LedgerEntry]) -> None:
        usage.write_down(self._connection, self._instance, entries)

    def _unspool(self) -> None:
        """Writes the oldest entries of the spool, and drops them from it unless the store fails."""
        entries, n_bytes = self._spool.read()
        write_valid(self._write, entries)
        self._spool.forget(len(entries), n_bytes)

    def _open_files(self) -> None:
        self._running.open()
        self._spool.open()

    def _close_files(self) -> None:
        self._spool.close()
        self._running.close()

    def _leave(self) -> None:
        try:
            while self._spool.n_entries:
                self._unspool()
            with transaction(self._store) as connection:
                instances.forget(connection, self._instance)
        finally:
            self._connection.close()
