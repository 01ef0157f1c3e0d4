"""What keeping accounts costs: the service with a ledger on SQLite beside itself without one.

Servers run on one core, the client on another; they take turns, round by round. Then requests without a
service around them: the processor time of one, and how long its settlement takes. `benchmarks/README.md`
tells more.
"""

import argparse
import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory

import uvloop
from benchmarks.http_layer import Figures, latency, ours, repeated, throughput
from benchmarks.http_load import Server
from benchmarks.http_servers import KEY, MODEL

from tessera.access.keys import Keys
from tessera.access.limits import MemoryLimiter
from tessera.access.permit import Permit
from tessera.core.chat import ChatRequest, Mode
from tessera.core.events import FinishReason
from tessera.core.record import RequestRecord, RequestStep
from tessera.observe.metrics import Metrics
from tessera.observe.requests import RequestMetrics
from tessera.store.database import open_database
from tessera.store.migration import upgrade
from tessera.usage.base import Ledger, OpenEntry, Unrecorded
from tessera.usage.ledger import SqlLedger
from tessera.wire.reply import new_id

_NAMES = frozenset({MODEL})
SETS = ("throughput", "short", "latency", "requests")
EVENTS_OF_SHORT = 2
"""The text and the end."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of request: whether it is streamed and recorded, and when its reply begins and ends."""

    name: str
    streamed: bool = True
    recorded: bool = True
    first_token_s: float = 0.0
    whole_s: float = 0.0

    async def begin(self) -> None:
        """Waits for the first token, as an engine would make this process wait."""
        if self.first_token_s:
            await asyncio.sleep(self.first_token_s)

    async def go_on(self) -> None:
        """Waits for the rest of the reply."""
        if self.whole_s:
            await asyncio.sleep(self.whole_s - self.first_token_s)

    async def last(self, number: int) -> None:
        """Does all of this for a request that is neither admitted nor recorded."""
        await self.begin()
        await self.go_on()


STREAM = Kind("stream, 0.2 s", first_token_s=0.08, whole_s=0.2)
PIECE = Kind("one piece, 0.2 s", streamed=False, first_token_s=0.08, whole_s=0.2)
SUDDEN_STREAM, SUDDEN_PIECE = Kind("stream, no time"), Kind("one piece, no time", streamed=False)
ADMITTED = Kind("stream, no time, no ledger", recorded=False)


@dataclass
class _Books:
    """All parts that a request passes, except the engine. `settled_s` has the seconds until each end was on
    record.
    """

    keys: Keys
    limiter: MemoryLimiter
    ledger: Ledger
    metrics: Metrics
    kind: Kind
    settled_s: list[float] = field(default_factory=list[float])

    async def keep(self, number: int) -> None:
        """Handles one request: its key, its limits and their headers, its ledger entry."""
        permit = Permit(self.limiter, self.metrics, await self.keys.identify(f"Bearer {KEY}"))
        await permit.admit(_NAMES, Mode.DIRECT)
        who = permit.identity
        readers = (RequestMetrics(self.metrics),)
        record = RequestRecord("req", who.account, who.key_id, readers=readers)
        reply_id = new_id(time.time())
        record.ask(ChatRequest(()), reply_id=reply_id, model=MODEL, streamed=self.kind.streamed)
        record.reach(RequestStep.READ)
        async with OpenEntry(self.ledger, record) as entry:
            await self.kind.begin()
            if self.kind.streamed:
                await entry.opened()
            await permit.headers()
            await self.kind.go_on()
            record.tally.completion_tokens = 40
            record.tally.finished[0] = FinishReason.STOP
            begun_s = time.perf_counter()
            await entry.settle()
            self.settled_s.append(time.perf_counter() - begun_s)
        await permit.leave()


async def _cpu_s(rate: float, n: int, work: Callable[[int], Awaitable[None]]) -> float:
    """The processor time in which all threads together answer `n` requests that arrive at an even rate."""
    running: list[asyncio.Future[None]] = []
    cpu_s, begun_s = time.process_time(), time.perf_counter()
    for number in range(n):
        await asyncio.sleep(max(0.0, begun_s + number / rate - time.perf_counter()))
        running.append(asyncio.ensure_future(work(number)))
    await asyncio.gather(*running)
    return time.process_time() - cpu_s


async def _in_turn(n: int, at_once: int, work: Callable[[int], Awaitable[None]]) -> float:
    """The processor time of `n` requests, of which `at_once` run at any moment."""
    numbers = iter(range(n))

    async def ask() -> None:
        for number in numbers:
            await work(number)

    cpu_s = time.process_time()
    await asyncio.gather(*(ask() for _ in range(at_once)))
    return time.process_time() - cpu_s


async def _requests(kind: Kind, rate: float | None, at_once: int, for_s: float) -> Figures:
    """`rate` requests a second, less what the same pace costs without any work. Without a rate: `at_once`
    requests, without pauses.
    """
    with TemporaryDirectory() as folder:
        store = open_database(f"sqlite:///{folder}/tessera.db", survives_power_cut=False)
        upgrade(store)
        metrics = Metrics()
        ledger = SqlLedger(store, Path(folder) / "spool", metrics, retention_days=90)
        await ledger.start()
        kept_in = ledger if kind.recorded else Unrecorded()
        books = _Books(Keys([KEY]), MemoryLimiter(), kept_in, metrics, kind)
        if rate is None:
            n = int(1000 * for_s)
            cpu_s = await _in_turn(n, at_once, books.keep)
        else:
            n = int(rate * for_s)
            cpu_s = -await _cpu_s(rate, n, kind.last)
            cpu_s += await _cpu_s(rate, n, books.keep)
        await ledger.aclose()
        store.dispose()
    hundredths = quantiles(books.settled_s, n=100)
    return {
        "settle_p50_ms": hundredths[49] * 1e3,
        "settle_p99_ms": hundredths[98] * 1e3,
        "cpu_us_per_request": cpu_s / n * 1e6,
    }


def requests(for_s: float) -> dict[str, Figures]:
    """Measures requests that are admitted and recorded, but not answered."""
    measured: dict[str, Figures] = {}
    for kind in (STREAM, PIECE, SUDDEN_STREAM, SUDDEN_PIECE, ADMITTED):
        for rate in (20, 200, 1000):
            name = f"{kind.name}: {rate:,} requests/s"
            measured[name] = uvloop.run(_requests(kind, rate, 0, for_s))
    for kind in (SUDDEN_STREAM, SUDDEN_PIECE, ADMITTED):
        for n in (8, 32):
            measured[f"{kind.name}: {n} at once"] = uvloop.run(_requests(kind, None, n, for_s))
    return measured


@contextmanager
def _servers(core: int, *options: str) -> Generator[dict[str, Server]]:
    with ours("tessera", core, *options) as without, ours("recorded", core, *options) as recorded:
        yield {"without": without, "with a ledger": recorded}


def _throughput(core: int, chosen: argparse.Namespace) -> list[dict[str, Figures]]:
    with _servers(core, "--events", str(chosen.events)) as servers:
        throughput(servers, chosen.streams, chosen.seconds)  # the round that does not count
        return repeated(lambda: throughput(servers, chosen.streams, chosen.seconds), chosen.rounds)


def _short(core: int, chosen: argparse.Namespace) -> list[dict[str, Figures]]:
    with _servers(core, "--events", "1") as servers:

        def flood() -> dict[str, Figures]:
            measured: dict[str, Figures] = {}
            for n_streams in (8, 32):
                flooded = throughput(servers, n_streams, chosen.seconds)
                without, recorded = (
                    EVENTS_OF_SHORT / of["events_per_cpu_s"] * 1e6 for of in flooded.values()
                )
                measured[f"{n_streams} streams"] = {
                    "cpu_us_without": without,
                    "cpu_us_with": recorded,
                    "ledger_us": recorded - without,
                }
            return measured

        flood()  # the round that does not count
        return repeated(flood, chosen.rounds)


def _latency(core: int, n_events: int, chosen: argparse.Namespace) -> list[dict[str, Figures]]:
    with _servers(core, "--tokens-per-s", "20", "--events", str(n_events)) as servers:
        return repeated(lambda: latency(servers, 3 * chosen.seconds), chosen.rounds)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accounts", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, choices=range(1, 21), metavar="N")
    parser.add_argument("--streams", type=int, default=8, choices=range(1, 257), metavar="N")
    parser.add_argument("--events", type=int, default=512, help="of each reply")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each round")
    parser.add_argument("--only", choices=SETS, nargs="+", default=SETS, help="what is measured")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/accounts.json"))
    chosen = parser.parse_args()
    core, *others = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {others[-1] if others else core})
    results: dict[str, list[dict[str, Figures]]] = {}
    if "throughput" in chosen.only:
        results["throughput"] = _throughput(core, chosen)
    if "short" in chosen.only:
        results["short replies"] = _short(core, chosen)
    if "latency" in chosen.only:
        for n_events in (40, 1):
            results[f"latency, {n_events} events"] = _latency(core, n_events, chosen)
    if "requests" in chosen.only:
        results["requests"] = repeated(lambda: requests(chosen.seconds), chosen.rounds)
    chosen.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
