"""The database: SQLite with one file, or PostgreSQL. How it is opened, and its transactions."""

import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from sqlite3 import SQLITE_BUSY
from sqlite3 import Connection as SqliteConnection
from sqlite3 import OperationalError as SqliteOperationalError
from time import monotonic, sleep
from typing import Any, TypeAlias, TypeVar

import platformdirs
import sqlalchemy
from sqlalchemy import Connection, Dialect, Select, Table, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.pool import PoolProxiedConnection

from tessera.errors import StartupError
from tessera.store.failures import SECRETS, translated_errors
from tessera.store.files import create_private

T = TypeVar("T", bound=tuple[Any, ...])

_DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
_WAIT_S = 5
_RETRY_S = 0.01

_UNREADABLE = (ArgumentError, ValueError, TypeError)

Insert: TypeAlias = postgresql.Insert | sqlite.Insert

Database: TypeAlias = sqlalchemy.Engine
"""SQLAlchemy calls it an engine, which here is what runs a model."""

Transaction: TypeAlias = Connection
"""A connection within a transaction."""

Rows: TypeAlias = Sequence[Mapping[str, object]]
"""Values by the names of a statement's parameters."""


def default_folder() -> Path | None:
    """The user's own directory for the store; None for a user without a home."""
    folder = platformdirs.user_data_path("tessera")
    return folder if folder.is_absolute() else None


def default_url() -> str:
    """SQLite in the user's own directory; raises `StartupError` if there is none."""
    folder = default_folder()
    if folder is None:
        raise StartupError("This user has no home for the store: set TESSERA_DATABASE_URL.")
    return f"sqlite:///{folder / 'tessera.db'}"


def sqlite_path(url: str) -> Path | None:
    """The database's file; None for PostgreSQL. Raises `StartupError`."""
    parsed = _parse(url)
    return Path(parsed.database or "") if parsed.drivername == "sqlite" else None


def with_path(url: str, path: Path) -> str:
    """The URL of an SQLite database with another file."""
    return _parse(url).set(database=str(path)).render_as_string(hide_password=False)


def without_passwords(url: str) -> str:
    """The URL without its passwords; raises `StartupError`."""
    return _parse(url).difference_update_query(SECRETS).render_as_string(hide_password=True)


def location(url: str) -> str:
    """What identifies a PostgreSQL database: its hosts, ports and name, without user and options."""
    parsed = _parse(url)
    options = parsed.normalized_query
    hosts = [parsed.host] if parsed.host else options.get("host", ())
    ports = [str(parsed.port)] if parsed.port else options.get("port", ("5432",))
    return f"{','.join(hosts)}:{','.join(ports)}/{parsed.database or parsed.username}"


def open_database(url: str, *, survives_power_cut: bool = True) -> Database:
    """Takes `sqlite:///path` or `postgresql://…`; nothing is connected yet. Raises `StartupError`.

    A commit always survives the process. To survive a power cut takes SQLite several times as long.
    """
    parsed = _parse(url)
    try:
        return (
            _sqlite(parsed, "FULL" if survives_power_cut else "NORMAL")
            if parsed.drivername == "sqlite"
            else _postgresql(parsed)
        )
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise StartupError("PostgreSQL needs its driver: pip install 'tessera-serve[postgres]'.") from error
    except _UNREADABLE:
        raise _unreadable() from None


@contextmanager
def transaction(database: Database) -> Generator[Transaction]:
    """A transaction, atomic; raises `StoreUnavailable` when the database cannot do its part."""
    with translated_errors(database.url), database.begin() as connection:
        yield connection


def locked(connection: Transaction, rows: Select[T]) -> Select[T]:
    """The same rows, locked: nobody else changes them until the transaction has ended."""
    driver = connection.connection.driver_connection
    # SQLite's driver begins a transaction before the first change, not before the reading that precedes it.
    if isinstance(driver, SqliteConnection) and not driver.in_transaction:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    return rows.with_for_update()


def insert_into(dialect: Dialect, table: Table) -> Insert:
    """An insertion that can say what happens to rows which are there already."""
    return postgresql.insert(table) if dialect.name == "postgresql" else sqlite.insert(table)


class WriteConnection:
    """A connection that is kept open between commits, for one thread that commits often. It calls the driver
    directly: SQLAlchemy's bookkeeping would add half the cost of a commit.
    """

    def __init__(self, database: Database) -> None:
        """Connects when it is first used, and again after the connection was lost."""
        self.dialect = database.dialect
        self._database = database
        self._connection: PoolProxiedConnection | None = None

    def write(self, statement: str, rows: Rows) -> None:
        """Executes the driver's statement for each row, in one transaction; raises as `transaction` does.

        The statement must be idempotent: if the connection is lost, it is executed again on a new one.
        """
        with translated_errors(self._database.url):
            if self._connection is not None:
                try:
                    return self._write(self._connection, statement, rows)
                except DBAPIError as error:
                    if not error.connection_invalidated:
                        raise
            self._connection = self._database.raw_connection()
            self._write(self._connection, statement, rows)

    def _write(self, connection: PoolProxiedConnection, statement: str, rows: Rows) -> None:
        driver = self.dialect.loaded_dbapi
        try:
            with closing(connection.cursor()) as cursor:  # an open cursor would keep SQLite's file locked
                cursor.executemany(statement, rows)
            connection.commit()
        except driver.Error as error:
            is_lost = self.dialect.is_disconnect(error, connection, None)
            self._connection = None
            connection.invalidate(error)
            raise DBAPIError.instance(
                statement, None, error, driver.Error, connection_invalidated=is_lost, dialect=self.dialect
            ) from error
        except Exception:  # a value that the driver cannot convert: the rows before it hold SQLite's lock
            connection.rollback()
            raise

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


def _parse(url: str) -> sqlalchemy.URL:
    try:
        parsed = make_url(url)
    except _UNREADABLE:
        raise _unreadable() from None
    driver = _DRIVERS.get(parsed.drivername)
    if driver is None:
        raise StartupError(f"TESSERA_DATABASE_URL names {parsed.drivername}: use sqlite or postgresql.")
    if driver == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise StartupError("TESSERA_DATABASE_URL names no file: send sqlite:///path.")
    return parsed.set(drivername=driver)


def _unreadable() -> StartupError:
    """The error for any URL that cannot be parsed. The parser's own message may quote some of the password:
    so it is neither shown nor kept as a cause.
    """
    return StartupError(
        "TESSERA_DATABASE_URL cannot be read. Send sqlite:///path or postgresql://…, with %3A, %2F and %40 "
        "for the :, / and @ of a password."
    )


def _sqlite(url: sqlalchemy.URL, synchronous: str) -> Database:
    engine = sqlalchemy.create_engine(url, pool_size=4, paramstyle="named", connect_args={"timeout": _WAIT_S})
    path = Path(url.database or "")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            with suppress(FileExistsError):  # another process was quicker
                os.close(create_private(path))
    except OSError as error:
        raise StartupError(
            f"The store {url.database} cannot be opened or created: {error.strerror}."
        ) from error

    @event.listens_for(engine, "connect")
    def prepare(connection: SqliteConnection, record: object) -> None:  # pyright: ignore[reportUnusedFunction]
        _use_wal(connection)
        for pragma in ("foreign_keys=ON", f"synchronous={synchronous}"):
            connection.execute(f"PRAGMA {pragma}")

    return engine


def _use_wal(connection: SqliteConnection) -> None:
    """Switches to WAL. If several connections do so on a new file, some are told that it is locked without
    the wait that their timeout allows, to avoid a deadlock (sqlite.org/c3ref/busy_handler.html). They retry.
    """
    ends = monotonic() + _WAIT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except SqliteOperationalError as error:
            if error.sqlite_errorcode != SQLITE_BUSY or monotonic() >= ends:
                raise
            sleep(_RETRY_S)


def _postgresql(url: sqlalchemy.URL) -> Database:
    from tessera.store.postgresql import connect

    options = [*url.normalized_query.get("options", ()), f"-c statement_timeout={_WAIT_S * 1000}"]
    ours = {"connect_timeout": str(_WAIT_S), **url.query, "options": " ".join(options)}
    engine = sqlalchemy.create_engine(
        url.set(query=ours), pool_size=4, max_overflow=4, pool_timeout=_WAIT_S, pool_pre_ping=True
    )

    event.listen(engine, "do_connect", connect)
    return engine
