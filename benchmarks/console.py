"""How long the console's questions take with 100,000 keys and 5,000,000 recorded requests, and the memory.

Fills a SQLite file, starts the admin API on it in a process of its own, and asks what each page of the
console asks. `benchmarks/README.md` tells more.
"""

import argparse
import json
import os
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
import uvicorn
from sqlalchemy import and_, select, update

from tessera.access.keys import KeyHasher
from tessera.access.tiers import Tiers
from tessera.http.admin.app import admin_app
from tessera.http.admin.routes import admin_routes
from tessera.store import usage
from tessera.store.database import open_database, transaction
from tessera.store.migration import upgrade
from tessera.store.tables import USAGE
from tessera.store.top_keys import UNCOUNTED

KEY = "benchmark-" + "k" * 40
PORT = 8499
N_DAYS = 90
MODELS = ("Qwen/Qwen3.6-35B-A3B", "small")
PIECE = 20_000
INTO = "INSERT INTO {} VALUES ({})"


def accounts(n: int) -> Iterator[tuple[Any, ...]]:
    for number in range(n):
        name, tier = f"account {number:06}", ("lite", "pro", "scale")[number % 3]
        yield f"acc_{number:020}", name, tier, 1.7e9 + number, None, None


def keys(n: int, n_accounts: int) -> Iterator[tuple[Any, ...]]:
    chance = random.Random(1)
    for number in range(n):
        used_s = 1.79e9 + chance.random() * 1e6 if number % 4 else None
        expires_s = 1.8e9 + chance.random() * 1e8 if number % 3 == 0 else None
        digest = number.to_bytes(32, "big")
        owner = f"acc_{number % n_accounts:020}"
        created_s = 1.7e9 + chance.random() * 9e7
        terms = (f"{chance.randrange(16**4):04x}", created_s, used_s, expires_s, *[None] * 6)
        yield f"key_{number:020}", owner, f"key {number:06}", digest, *terms


def requests(n: int, n_keys: int, n_accounts: int, *, even: bool) -> Iterator[tuple[Any, ...]]:
    """The last 90 days, evenly. Keys are used as often as each other, or after Zipf's law."""
    chance = random.Random(2)
    today = datetime.now(UTC).date()
    days = [(today - timedelta(days=N_DAYS - 1 - number)).isoformat() for number in range(N_DAYS)]
    for number in range(n):
        key = chance.randrange(n_keys) if even else int(n_keys ** chance.random()) - 1
        at = number * N_DAYS // n
        prompt, made = chance.randrange(20, 4000), chance.randrange(1, 800)
        finish = ("stop", "stop", "stop", "length", "tool_calls", "client_gone")[number % 6]
        begun_s = time.mktime(date.fromisoformat(days[at]).timetuple())
        counts = (days[at], begun_s, prompt, prompt // 2, made, made // 4, finish, 0.01, 0.3, 2.0, False)
        yield (
            f"chatcmpl-{number:024}",
            f"acc_{key % n_accounts:020}",
            f"key_{key:020}",
            MODELS[number % 2],
            "direct",
            True,
            "instance",
            *counts,
        )


def fill(path: Path, table: str, rows: Iterator[tuple[Any, ...]]) -> float:
    """Returns how many seconds it took."""
    begun_s = time.perf_counter()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        while piece := list(islice(rows, PIECE)):
            connection.executemany(INTO.format(table, ", ".join("?" * len(piece[0]))), piece)
            connection.commit()
    return time.perf_counter() - begun_s


def count_all(path: Path) -> float:
    """Adds the requests to the sums with the server's statements, a day at a time. Returns rows a second."""
    store = open_database(f"sqlite:///{path}", survives_power_cut=False)
    begun_s, n_rows = time.perf_counter(), 0
    with transaction(store) as connection:
        days = connection.scalars(select(USAGE.c.day).where(UNCOUNTED).distinct()).all()
    for day in days:
        of_day = and_(USAGE.c.day == day, UNCOUNTED)
        with transaction(store) as connection:
            usage._add_to_sums(connection, of_day)
            n_rows += connection.execute(update(USAGE).where(of_day).values(counted=True)).rowcount
    store.dispose()
    return n_rows / (time.perf_counter() - begun_s)


def serve(path: Path) -> None:
    store = open_database(f"sqlite:///{path}")
    app = admin_app(lambda: b"", KEY, admin_routes(store, Tiers(), KeyHasher(b"s" * 32)))
    uvicorn.run(app, port=PORT, log_level="warning")


def pages() -> dict[str, str]:
    """What the console asks, by what it shows."""
    today = datetime.now(UTC).date()
    since = {"30 days": today - timedelta(29), "90 days": today - timedelta(89)}
    key, account = f"key_{5:020}", "account 000005"
    asked = {
        "keys, newest first": "keys?limit=50&sort=-created_s",
        "keys by account": "keys?limit=50&sort=account",
        "keys by last use": "keys?limit=50&sort=-last_used_s",
        "keys by state": "keys?limit=50&sort=state",
        "keys, a search that finds one": "keys?limit=50&sort=-created_s&q=key+099999",
        "keys, a search that finds none": "keys?limit=50&sort=-created_s&q=nobody",
        "accounts": "accounts?limit=50&sort=name",
        "accounts, a search": "accounts?limit=50&sort=name&q=000999",
        "audit": "audit",
    }
    for title, day in since.items():
        asked[f"usage by day, {title}"] = f"usage?since={day}&by=day"
        for by in ("account", "key", "model"):
            asked[f"usage by {by}, {title}"] = f"usage?since={day}&by={by}&top=200"
        asked[f"usage of an account by day, {title}"] = f"usage?since={day}&by=day&account={account}"
        asked[f"usage of an account by key, {title}"] = f"usage?since={day}&by=key&account={account}&top=200"
        asked[f"usage of a key by day, {title}"] = f"usage?since={day}&by=day&key={key}"
    return asked


def last_page(client: httpx2.Client) -> str:
    """The address of a page of keys in the middle of the list, by the way that a reader goes."""
    link = "keys?limit=1000&sort=-last_used_s"
    for _ in range(50):
        reply = client.get(link)
        link = reply.headers["link"].split(">")[0].removeprefix("</admin/")
    return link


def resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(path: Path, rounds: int) -> None:
    process = get_context("spawn").Process(target=serve, args=(path,), daemon=True)
    process.start()
    assert process.pid is not None
    with httpx2.Client(
        base_url=f"http://127.0.0.1:{PORT}/admin/",
        headers={"Authorization": f"Bearer {KEY}"},
        trust_env=False,
        timeout=120,
    ) as client:
        for _ in range(300):
            try:
                client.get("audit?limit=1").raise_for_status()
                break
            except httpx2.TransportError:
                time.sleep(0.1)
        begun_mib = resident_mib(process.pid)
        asked = {**pages(), "keys, the 50,000th": last_page(client)}
        for title, link in asked.items():
            times: list[float] = []
            used_s = processor_s(process.pid)
            for _ in range(rounds):
                begun_s = time.perf_counter()
                client.get(link).raise_for_status()
                times.append(1000 * (time.perf_counter() - begun_s))
            used_ms = 1000 * (processor_s(process.pid) - used_s) / rounds
            row = f"{median(times):7.0f} ms, {used_ms:6.0f} ms of a processor,"
            print(f"{title:40} {row} {resident_mib(process.pid):4.0f} MiB", flush=True)
        print(f"memory: {begun_mib:.0f} MiB at first, {resident_mib(process.pid):.0f} MiB at the end")
    process.terminate()
    process.join()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.console", description=__doc__)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--accounts", type=int, default=1_000)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--even", action="store_true", help="all keys are used as often as each other")
    parser.add_argument("--file", type=Path, help="where the database is, or is made and kept")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        path = options.file or Path(folder) / "console.db"
        if not path.exists():
            store = open_database(f"sqlite:///{path}")
            upgrade(store)
            store.dispose()
            fill(path, "accounts", accounts(options.accounts))
            fill(path, "keys", keys(options.keys, options.accounts))
            rows = requests(options.rows, options.keys, options.accounts, even=options.even)
            filled_s = fill(path, "usage", rows)
            print(json.dumps({"rows written a second": round(options.rows / filled_s)}), flush=True)
            print(json.dumps({"rows added to sums a second": round(count_all(path))}), flush=True)
        print(f"{path.stat().st_size / 2**20:.0f} MiB of SQLite, {os.cpu_count()} processors", flush=True)
        measure(path, options.rounds)


if __name__ == "__main__":
    main()
