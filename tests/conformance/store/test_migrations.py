import re
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Timer

import pytest
from sqlalchemy import text
from tests.postgres import Postgres

from tessera.errors import OperatorError, StartupError, StoreUnavailable
from tessera.store import database as database_module
from tessera.store import migration, postgresql
from tessera.store.database import Database, open_database, transaction
from tessera.store.holders import Holders
from tessera.store.migration import current, differences, downgrade, latest, upgrade


def test_up_down_and_up_again(database: str) -> None:
    store = open_database(database)
    assert current(store) is None
    for _ in range(2):
        upgrade(store)
        assert current(store) == latest()
        assert differences(store) == []
        downgrade(store, "base")
        assert current(store) is None
        assert differences(store) != []
    store.dispose()


def test_tables_of_others_are_no_difference(database: str) -> None:
    store = open_database(database)
    upgrade(store)
    with transaction(store) as connection:
        connection.execute(text("CREATE TABLE others (id INTEGER PRIMARY KEY)"))
        connection.execute(text("CREATE INDEX ix_others ON others (id)"))
    assert differences(store) == []
    with transaction(store) as connection:
        connection.execute(text("DROP TABLE instances"))
        connection.execute(text("DROP INDEX ix_usage_day_account"))
    assert len(differences(store)) == 2
    store.dispose()


def test_several_servers_start_at_once(database: str) -> None:
    stores = [open_database(database) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(upgrade, stores))
    assert differences(stores[0]) == []
    for store in stores:
        store.dispose()


def test_a_file_of_sqlite_is_begun_by_several_at_once(tmp_path: Path) -> None:
    for index in range(100):
        stores = [open_database(f"sqlite:///{tmp_path / f'{index}.db'}") for _ in range(8)]
        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(current, stores)) == [None] * 8
        for store in stores:
            store.dispose()


@pytest.mark.parametrize("revision", ["nowhere", "", "@", "head@", "a:b", "+1", "é"])
def test_a_revision_that_is_not_known_is_refused_and_nothing_changes(database: str, revision: str) -> None:
    store = open_database(database)
    upgrade(store)
    with pytest.raises(OperatorError, match=re.escape(repr(revision))):
        downgrade(store, revision)
    assert current(store) == latest()
    store.dispose()


def test_a_database_that_cannot_hold_every_name_is_refused(postgres: Postgres) -> None:
    name = f"latin_{secrets.token_hex(4)}"
    postgres.sql(f"CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    store = open_database(postgres.url(name))
    with pytest.raises(StartupError, match="LATIN1"):
        upgrade(store)
    assert current(store) is None
    store.dispose()


def test_a_store_without_tables_is_unavailable(database: str) -> None:
    store = open_database(database)
    with pytest.raises(StoreUnavailable):
        Holders(store).find(b"d" * 32)
    store.dispose()


LOCKS = {
    "another migration": f"SELECT pg_advisory_xact_lock({migration._LOCK})",
    "a reader": "LOCK TABLE accounts IN ACCESS SHARE MODE",
}


@contextmanager
def locked(store: Database, lock: str) -> Iterator[Callable[[], None]]:
    """Holds a lock on the store until the function that it yields is called."""
    ended = Event()
    with ThreadPoolExecutor(1) as thread, store.connect() as other:
        other.execute(text(lock))
        holding = thread.submit(lambda: (ended.wait(60), other.rollback()))
        try:
            yield ended.set
        finally:
            ended.set()
            holding.result()


@pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS.keys())
@pytest.mark.parametrize(
    ("given_up_s", "held_s"), [(3, 4.5), pytest.param(None, 7.5, marks=pytest.mark.full)]
)
def test_a_migration_is_waited_for_longer_than_anything_else(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, lock: str, given_up_s: int | None, held_s: float
) -> None:
    if given_up_s:
        monkeypatch.setattr(database_module, "_WAIT_S", given_up_s)
        monkeypatch.setattr(postgresql.TimeoutConnection, "silence_s", float(given_up_s))
    store = open_database(fresh(postgres))
    upgrade(store)
    with locked(store, lock) as end:
        Timer(held_s, end).start()
        downgrade(store, "base")
    assert current(store) is None
    with pytest.raises(StoreUnavailable), transaction(store) as connection:
        connection.execute(text(f"SELECT pg_sleep({(given_up_s or 6) + 1})"))
    store.dispose()


@pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS.keys())
def test_a_migration_that_cannot_begin_says_why(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, lock: str
) -> None:
    monkeypatch.setattr(postgresql, "LOCK_WAIT_S", 0.2)
    store = open_database(fresh(postgres))
    upgrade(store)
    with locked(store, lock), pytest.raises(StoreUnavailable, match=r"in use for 0\.2 seconds"):
        downgrade(store, "base")
    assert current(store) == latest()
    store.dispose()


def fresh(server: Postgres) -> str:
    return server.create(f"migrated_{secrets.token_hex(4)}")
