"""The ledger, and what happens to its store."""

import asyncio
import time
from pathlib import Path

from sqlalchemy import text
from tests.postgres import Postgres

from tessera.core.entry import Entry
from tessera.metering.ledger import SqlLedger
from tessera.metrics import Metrics
from tessera.store import usage
from tessera.store.migration import upgrade
from tessera.store.opening import open_store, transaction
from tessera.store.usage import Question

CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"


def entry(id: str) -> Entry:
    return Entry(id, "acc_1", "key_1", "m", "direct", True, time.time(), finish="stop")


def test_a_store_that_was_started_again_meanwhile_is_not_away(postgres: Postgres, tmp_path: Path) -> None:
    store, metrics = open_store(postgres.create("started_again")), Metrics()
    upgrade(store)

    async def check() -> None:
        ledger = SqlLedger(store, tmp_path, metrics, round_s=60)
        await ledger.start()
        for number in range(3):
            await ledger.settle(entry(str(number)))
            await asyncio.to_thread(cut_all_connections, postgres.url("started_again"))
        await ledger.aclose()

    asyncio.run(check())
    with transaction(store) as connection:
        assert [each.n_requests for each in usage.add_up(connection, Question())] == [3]
    assert metrics.registry.get_sample_value("tessera_ledger_failures_total") == 0
    assert list(tmp_path.iterdir()) == []
    store.dispose()


def cut_all_connections(url: str) -> None:
    other = open_store(url)
    with other.connect() as connection:
        connection.execute(text(CUT + " AND pid <> pg_backend_pid()"))
    other.dispose()
