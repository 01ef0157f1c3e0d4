"""The ledger, and what happens to its store."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import func, select, text
from tests.postgres import Postgres
from tests.waiting import wait_for

from tessera.core.usage import OPEN, LedgerEntry, Usage, UsageQuestion
from tessera.errors import StoreUnavailable
from tessera.observe.metrics import Metrics
from tessera.store import instances, usage
from tessera.store.database import Database, open_database, transaction
from tessera.store.migration import upgrade
from tessera.store.tables import INSTANCES, USAGE
from tessera.usage import retention
from tessera.usage.journal.files import decode
from tessera.usage.journal.running import RunningRequests
from tessera.usage.journal.spool import Spool
from tessera.usage.ledger import SqlLedger

CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"


def entry(id: str) -> LedgerEntry:
    return LedgerEntry(id, "acc_1", "key_1", "m", "direct", True, time.time(), finish="stop")


def test_a_store_that_was_started_again_meanwhile_is_not_away(postgres: Postgres, tmp_path: Path) -> None:
    store, metrics = open_database(postgres.create("started_again")), Metrics()
    upgrade(store)

    async def check() -> None:
        ledger = SqlLedger(store, tmp_path, metrics, retention_days=90, heartbeat_s=60)
        await ledger.start()
        for number in range(3):
            await ledger.settle(entry(str(number)))
            await asyncio.to_thread(cut_all_connections, postgres.url("started_again"))
        await ledger.aclose()

    asyncio.run(check())
    with transaction(store) as connection:
        assert [each.n_requests for each in usage.add_up(connection, UsageQuestion())] == [3]
    assert metrics.registry.get_sample_value("tessera_ledger_failures_total") == 0
    assert list(tmp_path.iterdir()) == []
    store.dispose()


def test_a_request_that_ends_soon_is_written_once(opened: Database, tmp_path: Path) -> None:
    metrics = Metrics()

    async def check() -> None:
        ledger = SqlLedger(opened, tmp_path, metrics, retention_days=90, heartbeat_s=60)
        await ledger.start()
        for number in range(3):
            ended = entry(str(number))
            ledger.open(ended.id, lambda ended=ended: replace(ended, finish=OPEN))
            assert await ledger.settle(ended) is None
            assert await asyncio.to_thread(ends, opened) == ["stop"] * (number + 1)
        await ledger.aclose()

    asyncio.run(check())
    assert metrics.registry.get_sample_value("tessera_store_call_seconds_count", {"call": "usage"}) == 3


def test_one_that_runs_is_on_the_disk_at_once_and_in_the_store_with_the_next_heartbeat(
    opened: Database, tmp_path: Path
) -> None:
    folder = tmp_path / "files"

    async def check() -> None:
        ledger = SqlLedger(opened, folder, Metrics(), retention_days=90, heartbeat_s=0.3)
        await ledger.start()
        assert await ledger.open("1", lambda: replace(entry("1"), finish=OPEN)) is None
        assert kept(folder) == [("1", 0)]
        await asyncio.to_thread(wait_for, lambda: ends(opened) == [OPEN])
        assert await ledger.settle(entry("1")) is None
        assert kept(folder) == []
        await ledger.aclose()

    asyncio.run(check())
    assert ends(opened) == ["stop"]
    assert list(folder.iterdir()) == []


def test_the_end_waits_for_the_connections_that_are_in_use(opened: Database, tmp_path: Path) -> None:
    async def check() -> None:
        ledger = SqlLedger(opened, tmp_path, Metrics(), retention_days=90, heartbeat_s=60)
        await ledger.start()
        await asyncio.sleep(0)  # the first sums of days are begun
        await ledger.aclose()

    for _ in range(5):
        asyncio.run(check())
        assert opened.pool.checkedout() == 0  # pyright: ignore[reportAttributeAccessIssue] -- of both pools


@pytest.mark.parametrize("heartbeat_s", [60, 0.1], ids=["younger than a heartbeat", "older than a heartbeat"])
def test_what_a_dead_instance_was_doing_is_interrupted_with_its_last_counts(
    opened: Database, tmp_path: Path, heartbeat_s: float
) -> None:
    folder, usages = tmp_path / "files", [Usage()]

    async def check() -> None:
        ledger = SqlLedger(opened, folder, Metrics(), retention_days=90, heartbeat_s=heartbeat_s)
        await ledger.start()
        await asyncio.to_thread(wait_for, lambda: has_beaten(opened))
        await ledger.open("1", lambda: replace(entry("1"), finish=OPEN, usage=usages[0]))
        usages[0] = Usage(20, 0, 500)
        if heartbeat_s < 1:
            await asyncio.to_thread(wait_for, lambda: kept(folder) == [("1", 500)] and ends(opened) == [OPEN])
        assert ends(opened) == [OPEN] * (heartbeat_s < 1)
        await ledger.aclose()  # and nobody has settled it

    asyncio.run(check())
    asyncio.run(next_instance(opened, folder))
    assert counts(opened) == {"1": ("interrupted", 500 if heartbeat_s < 1 else 0), "of the next": ("stop", 0)}
    assert list(folder.iterdir()) == []


def test_what_a_dead_instance_was_doing_long_ago_does_not_come_back(opened: Database, tmp_path: Path) -> None:
    old = replace(entry("old"), finish=OPEN, begun_s=time.time() - 92 * 86_400)
    dead = RunningRequests(tmp_path / "files", "srv_dead")
    dead.open()
    assert dead.begin(old.id, lambda: old)
    dead.close()
    asyncio.run(next_instance(opened, tmp_path / "files"))
    assert set(counts(opened)) == {"of the next"}


def test_where_the_disk_takes_nothing_the_store_has_to(opened: Database, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    async def check() -> None:
        ledger = SqlLedger(opened, tmp_path / "file", Metrics(), retention_days=90, heartbeat_s=60)
        await ledger.start()
        assert await ledger.open("1", lambda: replace(entry("1"), finish=OPEN)) is None
        assert await asyncio.to_thread(ends, opened) == [OPEN]
        assert await ledger.settle(entry("1")) is None
        await ledger.aclose()

    asyncio.run(check())
    assert ends(opened) == ["stop"]


def test_where_no_end_can_be_recorded_nothing_begins_and_what_had_begun_is_recorded_later(
    opened: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, broken = tmp_path / "files", StoreUnavailable("no")

    def cannot(*arguments: object) -> None:
        raise broken

    async def check() -> None:
        ledger = SqlLedger(opened, folder, Metrics(), retention_days=90, heartbeat_s=0.1)
        await ledger.start()
        for id in ("settled", "running"):
            assert await ledger.open(id, lambda id=id: replace(entry(id), finish=OPEN)) is None
        with monkeypatch.context() as faults:
            faults.setattr(usage, "write", cannot)
            faults.setattr(usage, "write_down", cannot)
            faults.setattr(Spool, "append", cannot)
            faults.setattr(Spool, "probe", cannot)
            assert await ledger.settle(entry("settled")) is broken
            assert await ledger.open("refused", lambda: replace(entry("refused"), finish=OPEN)) is broken
            assert await ledger.settle(replace(entry("refused"), finish="store_unavailable")) is broken
            assert ledger.unready() == "store_unavailable"
        await asyncio.to_thread(
            wait_for,
            lambda: counts(opened) == {"settled": ("stop", 0), "running": (OPEN, 0)},
        )
        await asyncio.to_thread(wait_for, lambda: ledger.unready() is None)
        assert await ledger.open("again", lambda: replace(entry("again"), finish=OPEN)) is None
        assert [id for id, _ in kept(folder)] == ["again", "running"]
        for id in ("running", "again"):
            assert await ledger.settle(entry(id)) is None
        await ledger.aclose()

    asyncio.run(check())
    assert counts(opened) == dict.fromkeys(("settled", "running", "again"), ("stop", 0))
    assert list(folder.iterdir()) == []


DAMAGED = {
    "no text": b'{"id":"\xff"}',
    "a count beyond all integers": b'{"usage":{"prompt_tokens":%d}}' % 10**30,
    "a count beyond the column": b'{"usage":{"prompt_tokens":%d}}' % 2**63,
    "a time without a day": b'{"begun_s":1e300}',
    "a time without a day, open": b'{"begun_s":1e300,"finish":"open"}',
    "text that no database keeps": rb'{"model":"\u0000"}',
    "no entry": b"[1]",
}


@pytest.mark.parametrize("kind", ["usage", "running"])
def test_a_damaged_file_costs_its_damaged_entries_only(opened: Database, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    sound = msgspec.json.encode(entry("0"))
    lines = [
        sound[:-1].replace(b'"0"', b'"%d"' % number) + b"," + damage[1:]
        for number, damage in enumerate(DAMAGED.values(), start=2)
    ]
    last = sound.replace(b'"0"', b'"1"')
    (folder / f"srv_0.{kind}.jsonl").write_bytes(b"\n".join([sound, *lines, last, b""]))
    metrics = Metrics()

    async def check() -> None:
        ledger = SqlLedger(opened, folder, metrics, retention_days=90, heartbeat_s=60)
        await ledger.start()
        await asyncio.to_thread(wait_for, lambda: has_beaten(opened))
        assert await ledger.settle(entry("live")) is None
        await ledger.aclose()

    asyncio.run(check())
    assert {"0", "1", "live"} <= counts(opened).keys()
    assert metrics.registry.get_sample_value("tessera_ledger_failures_total") == 0
    assert list(folder.iterdir()) == []


def overwrite(folder: Path, damage: bytes) -> None:
    (path,) = folder.glob("*.usage.jsonl")
    path.write_bytes(damage)


def test_a_spool_that_was_damaged_or_truncated_does_not_keep_usage_waiting(
    opened: Database, tmp_path: Path
) -> None:
    async def check(damage: bytes) -> None:
        ledger = SqlLedger(opened, tmp_path, Metrics(), retention_days=90, heartbeat_s=0.1)
        await ledger.start()
        ledger._spool.append([entry("spooled")])  # pyright: ignore[reportPrivateUsage]
        await asyncio.to_thread(overwrite, tmp_path, damage)
        await asyncio.to_thread(wait_for, lambda: not ledger._spool.n_entries)  # pyright: ignore[reportPrivateUsage]
        assert await ledger.settle(entry("live")) is None
        await ledger.aclose()

    for damage in (b"", b"\xff" * 200, b'{"id":"\xff"}\n' * 20):
        asyncio.run(check(damage))
        assert list(tmp_path.glob("*.jsonl")) == []
    assert "live" in counts(opened)


async def next_instance(store: Database, folder: Path) -> None:
    """Starts another instance, which answers one request."""
    ledger = SqlLedger(store, folder, Metrics(), retention_days=90, heartbeat_s=60)
    await ledger.start()
    assert await ledger.settle(entry("of the next")) is None
    await ledger.aclose()


def kept(folder: Path) -> list[tuple[str, int]]:
    """The ids and completion tokens in the files of running requests."""
    entries = [
        each for path in folder.glob("*.running.jsonl") for each in decode(path.read_bytes().splitlines())
    ]
    return sorted((each.id, each.usage.completion_tokens) for each in entries)


def counts(store: Database) -> dict[str, tuple[str, int]]:
    """The finish reasons and completion tokens of all rows, by their ids."""
    columns = select(USAGE.c.id, USAGE.c.finish, USAGE.c.completion_tokens)
    with transaction(store) as connection:
        return {id: (finish, n_tokens) for id, finish, n_tokens in connection.execute(columns)}


def has_beaten(store: Database) -> bool:
    with transaction(store) as connection:
        return bool(connection.scalar(select(func.count()).select_from(INSTANCES)))


def ends(store: Database) -> list[str]:
    with transaction(store) as connection:
        return list(connection.scalars(select(USAGE.c.finish).order_by(USAGE.c.finish)))


N_DAYS, A_DAY = 40, 9


def test_a_backlog_of_many_days_is_worked_off_in_pieces(
    opened: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "AT_ONCE", 20)
    now_s = time.time()
    old = [
        replace(entry(f"{day}-{n}"), begun_s=now_s - (91 + day) * 86_400)
        for day in range(N_DAYS)
        for n in range(A_DAY)
    ]
    kept = replace(entry("kept"), begun_s=now_s - 89 * 86_400)
    with transaction(opened) as connection:
        usage.write(connection, "i", [*old, kept, replace(old[0], id="open", finish=OPEN)])
        instances.beat(connection, "i", now_s)

    def n_rows() -> int:
        with transaction(opened) as connection:
            return connection.scalar(select(func.count()).select_from(USAGE)) or 0

    async def check() -> list[int]:
        # They take turns.
        ledgers = [
            SqlLedger(opened, tmp_path, Metrics(), retention_days=90, heartbeat_s=0.1) for _ in range(2)
        ]
        seen = [n_rows()]
        for each in ledgers:
            await each.start()
        async with asyncio.timeout(60):
            while seen[-1] > 2:
                await asyncio.sleep(0.01)
                seen.append(await asyncio.to_thread(n_rows))
        for each in ledgers:
            await each.aclose()
        return seen

    seen = asyncio.run(check())
    assert len(set(seen)) > 5
    assert seen[-1] == 2
    with transaction(opened) as connection:
        counted = [each.n_requests for each in usage.add_up(connection, UsageQuestion())]
    assert counted == [A_DAY] * (N_DAYS - 1) + [A_DAY + 1, 1]


def test_a_store_that_cannot_roll_up_now_is_not_away(
    opened: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(retention, "RETRY_S", 0.05)
    metrics = Metrics()
    with transaction(opened) as connection:
        connection.execute(text("ALTER TABLE usage_daily RENAME TO elsewhere"))
        usage.write(connection, "i", [replace(entry("old"), begun_s=0.0)])

    async def check() -> None:
        ledger = SqlLedger(opened, tmp_path, metrics, retention_days=90, heartbeat_s=0.1)
        await ledger.start()
        await asyncio.to_thread(wait_for, lambda: caplog.text.count("cannot be added up") >= 2)
        await ledger.settle(entry("new"))
        assert metrics.registry.get_sample_value("tessera_store_up") == 1
        with transaction(opened) as connection:
            connection.execute(text("ALTER TABLE elsewhere RENAME TO usage_daily"))
        await asyncio.to_thread(wait_for, lambda: not is_kept("old"))
        await ledger.aclose()

    def is_kept(id: str) -> bool:
        with transaction(opened) as connection:
            return bool(connection.scalar(select(func.count()).where(USAGE.c.id == id)))

    asyncio.run(check())
    assert metrics.registry.get_sample_value("tessera_ledger_failures_total") == 0


def cut_all_connections(url: str) -> None:
    other = open_database(url)
    with other.connect() as connection:
        connection.execute(text(CUT + " AND pid <> pg_backend_pid()"))
    other.dispose()
