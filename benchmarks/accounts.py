"""What keeping accounts costs: the service with a ledger on SQLite beside itself without one.

Servers run on one core, the client on another; they take turns, round by round. Then entries alone: how long
a settlement takes at an even rate, and its processor time. `benchmarks/README.md` tells more.
"""

import argparse
import asyncio
import json
import os
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory

from benchmarks.http_layer import Figures, latency, ours, repeated, throughput

from tessera.core.entry import Entry
from tessera.core.usage import Usage
from tessera.metering.ledger import SqlLedger
from tessera.metrics import Metrics
from tessera.store.migration import upgrade
from tessera.store.opening import open_store


async def _settle_at(rate: float, for_s: float) -> Figures:
    """Open and settle `rate` entries each second."""
    with TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{folder}/tessera.db", survives_power_cut=False)
        upgrade(store)
        ledger = SqlLedger(store, Path(folder) / "spool", Metrics())
        await ledger.start()
        taken: list[float] = []

        async def one(number: int) -> None:
            entry = Entry(f"chatcmpl-{number}", "acc", "key", "m", "direct", True, time.time())
            await ledger.open(lambda: entry)
            begun_s = time.perf_counter()
            await ledger.settle(replace(entry, usage=Usage(20, 0, 40, 0), finish="stop", whole_s=0.1))
            taken.append(time.perf_counter() - begun_s)

        n, cpu_s, begun_s = int(rate * for_s), time.process_time(), time.perf_counter()
        running: list[asyncio.Task[None]] = []
        for number in range(n):
            await asyncio.sleep(max(0.0, begun_s + number / rate - time.perf_counter()))
            running.append(asyncio.create_task(one(number)))
        await asyncio.gather(*running)
        cpu_s = time.process_time() - cpu_s
        await ledger.aclose()
        store.dispose()
    hundredths = quantiles(taken, n=100)
    return {
        "settle_p50_ms": hundredths[49] * 1e3,
        "settle_p99_ms": hundredths[98] * 1e3,
        "cpu_us_per_request": cpu_s / n * 1e6,
    }


def entries(rates: list[float], for_s: float) -> dict[str, Figures]:
    """A round of entries alone."""
    return {f"{rate:g} requests/s": asyncio.run(_settle_at(rate, for_s)) for rate in rates}


def main() -> None:
    """Measure, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accounts", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, choices=range(1, 21), metavar="N")
    parser.add_argument("--streams", type=int, default=8, choices=range(1, 257), metavar="N")
    parser.add_argument("--events", type=int, default=512, help="of each reply")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each round")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/accounts.json"))
    chosen = parser.parse_args()
    core, *others = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {others[-1] if others else core})
    results: dict[str, list[dict[str, Figures]]] = {}
    with ExitStack() as stack:
        shape = ("--events", str(chosen.events))
        servers = {
            "without": stack.enter_context(ours("tessera", core, *shape)),
            "with a ledger": stack.enter_context(ours("recorded", core, *shape)),
        }
        throughput(servers, chosen.streams, chosen.seconds)  # the round that does not count
        results["throughput"] = repeated(
            lambda: throughput(servers, chosen.streams, chosen.seconds), chosen.rounds
        )
    pace = ("--tokens-per-s", "20", "--events", "40")
    with ours("tessera", core, *pace) as without, ours("recorded", core, *pace) as recorded:
        paced = {"without": without, "with a ledger": recorded}
        results["latency"] = repeated(lambda: latency(paced, 3 * chosen.seconds), chosen.rounds)
    results["entries"] = repeated(lambda: entries([20, 200, 1000], chosen.seconds), chosen.rounds)
    chosen.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
