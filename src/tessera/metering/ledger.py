"""Usage on record: a request's entry is durable before its first byte is sent, and again before its last.

One thread writes. Whatever is waiting goes into one transaction, so that many requests share a commit. While
the store is away entries go to the spool, and from there to the store when it is back; an entry may be
written any number of times. The counts of running requests are written every few seconds, and so is that this
instance lives: what a dead one left open is closed as `interrupted` by the others, or by the next.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar

from tessera.core.entry import Entry
from tessera.errors import StoreUnavailable
from tessera.metering.spool import Spool, abandoned, new_instance
from tessera.metrics import Metrics, StoreCall
from tessera.store import usage
from tessera.store.asking import ask
from tessera.store.opening import Store, transaction
from tessera.store.usage import Question, Sum
from tessera.telemetry import log

T = TypeVar("T")

Look: TypeAlias = Callable[[], Entry]
"""Gives the entry of a running request as it is now."""

MAX_WAITING = 10_000
STORE_WAIT_S = 3.0
"""Entries that wait longer for the store go to the spool."""

READING_WAIT_S, ROUND_S, ROUND_WHILE_AWAY_S = 5.0, 5.0, 1.0
DEAD_AFTER_S = 60.0
_HOUR_S, _DAY_S = 3600, 86_400

_logger = logging.getLogger(__name__)


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


@dataclass(frozen=True, slots=True)
class _Waiting:
    """`written` is done with what went wrong, or None."""

    entry: Entry
    since_s: float
    written: asyncio.Future[StoreUnavailable | None]


class SqlLedger:
    """A `Ledger` in the store."""

    def __init__(
        self, store: Store, folder: Path, metrics: Metrics, retention_days: int = 90, round_s: float = ROUND_S
    ) -> None:
        """`folder` is for spools. Rows of requests are kept for `retention_days`, then sums of their days."""
        self.instance = new_instance()
        self._store = store
        self._folder = folder
        self._metrics = metrics
        self._retention_days = retention_days
        self._round_s = round_s
        self._running: dict[str, Look] = {}
        self._waiting: list[_Waiting] = []
        self._wanted = asyncio.Event()
        self._is_away = False
        self._rolled_up_s = 0.0
        self._thread = ThreadPoolExecutor(1, "ledger")
        self._readers = ThreadPoolExecutor(2, "usage")  # not the loop's, which the spool needs
        self._spool: Spool | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, look: Look) -> None:
        """See `Ledger`."""
        entry = look()
        self._running[entry.id] = look
        await self._record(entry)

    async def settle(self, entry: Entry) -> None:
        """See `Ledger`."""
        self._running.pop(entry.id, None)
        await self._record(entry)

    async def add_up(self, question: Question) -> list[Sum]:
        """See `Ledger`."""
        return await ask(self._readers, partial(self._add_up, question), READING_WAIT_S)

    async def start(self) -> None:
        """See `Ledger`."""
        try:
            self._spool = await asyncio.to_thread(Spool, self._folder, self.instance)
        except OSError as error:
            log(_logger, "warning", "no spool: without the store there is no service", reason=error.strerror)
        self._tasks = [asyncio.create_task(self._write_on()), asyncio.create_task(self._go_round())]

    async def aclose(self) -> None:
        """See `Ledger`."""
        while self._waiting:
            self._wanted.set()
            await asyncio.wait([each.written for each in self._waiting])
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._ask_store("round", self._leave)
        if self._spool:
            await asyncio.to_thread(self._spool.close)
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._readers.shutdown(wait=False, cancel_futures=True)

    async def _record(self, entry: Entry) -> None:
        if len(self._waiting) >= MAX_WAITING:
            raise StoreUnavailable("Too much usage waits to be recorded. Send the request again.")
        written = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(entry, time.monotonic(), written))
        self._wanted.set()
        if failure := await written:
            raise failure

    async def _write_on(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            batch, self._waiting = self._waiting, []
            failure = await self._keep([each.entry for each in batch])
            if batch:
                self._metrics.ledger_lag_s.observe(time.monotonic() - batch[0].since_s)
            for each in batch:
                if not each.written.done():
                    each.written.set_result(failure)

    async def _keep(self, entries: list[Entry]) -> StoreUnavailable | None:
        """Make entries durable, here or there."""
        if not self._is_away and await self._ask_store("usage", lambda: self._write(entries)):
            return None
        if self._spool is None:
            return StoreUnavailable("Usage cannot be recorded now. Send the request again.")
        try:
            await asyncio.to_thread(self._spool.append, entries)
        except StoreUnavailable as error:
            return error
        return None

    async def _go_round(self) -> None:
        while True:
            running = [look() for look in self._running.values()]
            self._turn(away=not await self._ask_store("round", partial(self._make_round, running)))
            while not self._is_away and self._n_spooled:  # what comes now is not spooled: it has an end
                await self._ask_store("round", self._write_spooled)
            self._metrics.spooled.set(self._n_spooled)
            await asyncio.sleep(ROUND_WHILE_AWAY_S if self._is_away else self._round_s)

    async def _ask_store(self, call: StoreCall, work: Callable[[], None]) -> bool:
        """Do it in the thread, and say whether it was done in time."""
        try:
            with self._metrics.store_call_s.labels(call).time():
                async with asyncio.timeout(STORE_WAIT_S):
                    await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except Exception as error:  # whatever it is, requests go on
            self._metrics.ledger_failures.inc()
            if not self._is_away:
                log(_logger, "error", "usage cannot be written", reason=type(error).__name__)
            self._turn(away=True)
            return False
        return True

    def _turn(self, *, away: bool) -> None:
        self._is_away = away
        self._metrics.store_up.set(not away)

    def _write(self, entries: list[Entry]) -> None:
        with transaction(self._store) as connection:
            usage.write(connection, self.instance, entries)

    def _make_round(self, running: list[Entry]) -> None:
        now_s = time.time()
        for instance, entries in abandoned(self._folder):
            with transaction(self._store) as connection:
                usage.write(connection, instance, entries)
                usage.bury(connection, instance)
        with transaction(self._store) as connection:
            usage.beat(connection, self.instance, now_s)
            usage.write(connection, self.instance, running)
            usage.close_abandoned(connection, now_s - DEAD_AFTER_S)
        if now_s - self._rolled_up_s > _HOUR_S:
            with transaction(self._store) as connection:
                usage.roll_up(connection, usage.day_of(now_s - self._retention_days * _DAY_S))
            self._rolled_up_s = now_s

    @property
    def _n_spooled(self) -> int:
        return self._spool.n_entries if self._spool else 0

    def _write_spooled(self) -> None:
        if self._spool:
            entries, n_bytes = self._spool.read()
            self._write(entries)
            self._spool.forget(len(entries), n_bytes)

    def _leave(self) -> None:
        while self._n_spooled:
            self._write_spooled()
        with transaction(self._store) as connection:
            usage.bury(connection, self.instance)

    def _add_up(self, question: Question) -> list[Sum]:
        with transaction(self._store) as connection:
            return usage.add_up(connection, question)
