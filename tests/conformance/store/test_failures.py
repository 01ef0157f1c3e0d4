"""A PostgreSQL that is there, and does not do what it is asked: a store that cannot answer."""

import logging
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest
from sqlalchemy.exc import IntegrityError
from tests.postgres import Postgres

from tessera.errors import StoreUnavailable
from tessera.store import accounts
from tessera.store.database import Database, open_database, transaction
from tessera.store.holders import Holders
from tessera.store.migration import upgrade
from tessera.store.pages import PageQuestion


@dataclass
class Base:
    """A database whose owner is not the role of the store; `url` is the owner's."""

    url: str
    role: str
    store: Database

    def order(self, statement: str) -> None:
        """Executes a statement as the owner, who may do everything."""
        name = self.url.rpartition("/")[2].partition("?")[0]
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement.format(role=self.role, name=name).encode())


@pytest.fixture
def base(postgres: Postgres) -> Iterator[Base]:
    role = f"role_{secrets.token_hex(4)}"
    url = postgres.create(f"of_{role}")
    store = open_database(url.replace("tessera@", f"{role}@"))
    made = Base(url, role, store)
    made.order("CREATE ROLE {role} LOGIN")
    yield made
    store.dispose()


@pytest.fixture
def usable(base: Base) -> Base:
    base.order("GRANT ALL ON SCHEMA public TO {role}")
    upgrade(base.store)
    base.order("REASSIGN OWNED BY {role} TO tessera; GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
    assert Holders(base.store).find(b"d" * 32) is None
    return base


@pytest.mark.parametrize(
    ("refusal", "kind", "reason"),
    [
        ("REVOKE ALL ON keys FROM {role}", "InsufficientPrivilege", "permission denied for table keys"),
        ("ALTER TABLE keys RENAME last4 TO last_4", "UndefinedColumn", "column keys.last4 does not exist"),
        ("ALTER TABLE keys RENAME TO locks", "UndefinedTable", 'relation "keys" does not exist'),
    ],
)
def test_a_store_that_refuses_a_question_is_unavailable_and_the_log_says_why(
    usable: Base, caplog: pytest.LogCaptureFixture, refusal: str, kind: str, reason: str
) -> None:
    usable.order(refusal)
    with caplog.at_level(logging.ERROR), pytest.raises(StoreUnavailable) as caught:
        Holders(usable.store).find(b"d" * 32)
    assert [record.__dict__["fields"] for record in caplog.records] == [{"kind": kind, "reason": reason}]
    assert caught.value.reason == reason
    assert reason not in caught.value.message


def test_a_store_that_can_only_be_read_is_unavailable_for_changes(usable: Base) -> None:
    usable.order("ALTER DATABASE {name} SET default_transaction_read_only = on")
    usable.store.dispose()
    with transaction(usable.store) as store:
        assert accounts.page(store, PageQuestion("name")).rows == []
    with pytest.raises(StoreUnavailable), transaction(usable.store) as store:
        accounts.create(store, "acme", "lite", by="test")


def test_a_role_that_may_not_make_tables_is_a_store_that_is_unavailable(base: Base) -> None:
    with pytest.raises(StoreUnavailable):
        upgrade(base.store)
    base.order("GRANT ALL ON SCHEMA public TO {role}")
    upgrade(base.store)


@pytest.mark.parametrize(
    "options", ["-csearch_path%3Dmine", "-csearch_path%3Dother&options=-csearch_path%3Dmine"]
)
def test_options_in_the_url_are_kept_beside_our_own(base: Base, options: str) -> None:
    store = open_database(f"{base.url}&options={options}&application_name=some&connect_timeout=60")
    with transaction(store) as connection:
        said = [
            connection.exec_driver_sql(f"SHOW {name}").scalar()
            for name in ("search_path", "application_name", "statement_timeout")
        ]
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        assert driver.info.get_parameters()["connect_timeout"] == "60"
    assert said == ["mine", "some", "5s"]
    store.dispose()


def test_a_mistake_in_what_is_written_stays_one(usable: Base) -> None:
    with pytest.raises(IntegrityError), transaction(usable.store) as store:
        store.exec_driver_sql("INSERT INTO accounts (id) VALUES ('a')")
