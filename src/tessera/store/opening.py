"""Opening a store: SQLite with one file, or PostgreSQL; whatever the driver says no with is one error."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from sqlite3 import Connection as SqliteConnection

import sqlalchemy
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, NoSuchModuleError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from tessera.errors import StartupError, StoreUnavailable

_DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
_WAIT_S = 5

# A commit is on the disk when it returns; many requests share one.
_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={_WAIT_S * 1000}", "foreign_keys=ON")


def open_store(url: str) -> Engine:
    """`sqlite:///path` or `postgresql://…`; nothing is connected yet. Raises `StartupError`."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StartupError(
            "TESSERA_DATABASE_URL cannot be read. Send sqlite:///path or postgresql://…"
        ) from error
    driver = _DRIVERS.get(parsed.drivername)
    if driver is None:
        raise StartupError(f"TESSERA_DATABASE_URL names {parsed.drivername}: use sqlite or postgresql.")
    parsed = parsed.set(drivername=driver)
    try:
        return _sqlite(parsed) if driver == "sqlite" else _postgresql(parsed)
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise StartupError("PostgreSQL needs its driver: pip install 'tessera-serve[postgres]'.") from error


@contextmanager
def transaction(engine: Engine) -> Generator[Connection]:
    """What is done in it happens as a whole; raises `StoreUnavailable` when the store cannot do it."""
    try:
        with engine.begin() as connection:
            yield connection
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        raise StoreUnavailable("The store of accounts cannot be reached. Send the request again.") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise StoreUnavailable("The store of accounts went away. Send the request again.") from error
        raise


def _sqlite(url: sqlalchemy.URL) -> Engine:
    if url.database and url.database != ":memory:":
        try:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StartupError(f"The store {url.database} cannot be made: {error.strerror}.") from error
    engine = sqlalchemy.create_engine(url, pool_size=4, connect_args={"timeout": _WAIT_S})

    @event.listens_for(engine, "connect")
    def prepare(connection: SqliteConnection, record: object) -> None:  # pyright: ignore[reportUnusedFunction]
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    return engine


def _postgresql(url: sqlalchemy.URL) -> Engine:
    waits = {"connect_timeout": _WAIT_S, "options": f"-c statement_timeout={_WAIT_S * 1000}"}
    return sqlalchemy.create_engine(
        url, pool_size=4, max_overflow=4, pool_timeout=_WAIT_S, pool_pre_ping=True, connect_args=waits
    )
