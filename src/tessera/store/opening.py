"""Opening a store: SQLite with one file, or PostgreSQL."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from sqlite3 import SQLITE_BUSY
from sqlite3 import Connection as SqliteConnection
from sqlite3 import OperationalError as SqliteOperationalError
from time import monotonic, sleep
from typing import Any, TypeAlias, TypeVar

import platformdirs
import sqlalchemy
from sqlalchemy import Connection, Engine, Select, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.pool import PoolProxiedConnection

from tessera.errors import StartupError
from tessera.store.failures import SECRETS, explained

T = TypeVar("T", bound=tuple[Any, ...])

_DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
_WAIT_S = 5
_BREATH_S = 0.01

_UNREADABLE = (ArgumentError, ValueError, TypeError)

Store: TypeAlias = Engine
"""An open store, for those who need not know what it is made of."""

Changes: TypeAlias = Connection
"""What happens in one transaction, likewise."""

Rows: TypeAlias = Sequence[Mapping[str, object]]
"""Values by the names of a statement's parameters."""


def default_url() -> str:
    """SQLite in the user's own directory."""
    return f"sqlite:///{platformdirs.user_data_path('tessera') / 'tessera.db'}"


def sqlite_path(url: str) -> Path | None:
    """The database's file; None for PostgreSQL. Raises `StartupError`."""
    parsed = _parse(url)
    return Path(parsed.database or "") if parsed.drivername == "sqlite" else None


def shown(url: str) -> str:
    """Without its passwords; raises `StartupError`."""
    return _parse(url).difference_update_query(SECRETS).render_as_string(hide_password=True)


def place(url: str) -> str:
    """What tells a PostgreSQL database from others: its hosts, ports and name, not who asks it, nor how."""
    parsed = _parse(url)
    options = parsed.normalized_query
    hosts = [parsed.host] if parsed.host else options.get("host", ())
    ports = [str(parsed.port)] if parsed.port else options.get("port", ("5432",))
    return f"{','.join(hosts)}:{','.join(ports)}/{parsed.database or parsed.username}"


def open_store(url: str, *, survives_power_cut: bool = True) -> Store:
    """`sqlite:///path` or `postgresql://…`; nothing is connected yet. Raises `StartupError`.

    What is committed outlives the process in any case; to outlive the machine takes SQLite several times as
    long.
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
def transaction(engine: Engine) -> Generator[Connection]:
    """What is done in it happens as a whole; raises `StoreUnavailable` when the store cannot do it."""
    with explained(engine.url), engine.begin() as connection:
        yield connection


def held(connection: Connection, rows: Select[T]) -> Select[T]:
    """The rows, which nobody else changes from now until the transaction has ended."""
    driver = connection.connection.driver_connection
    # The driver begins a transaction before the first change, and not before what is read for it.
    if isinstance(driver, SqliteConnection) and not driver.in_transaction:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    return rows.with_for_update()


class Line:
    """A connection that is kept from one commit to the next: for one thread, which has many. It speaks with
    the driver, for to be told what the driver then does takes SQLAlchemy half as long as the commit.
    """

    def __init__(self, store: Store) -> None:
        """It is opened when it is needed, also after it was lost."""
        self.dialect = store.dialect
        self._store = store
        self._connection: PoolProxiedConnection | None = None

    def write(self, statement: str, rows: Rows) -> None:
        """Execute the driver's statement for each row, in a transaction; see `transaction`. It must bear
        being done twice: if the connection was lost since it was last used, or is now, it is done again on
        a fresh one.
        """
        with explained(self._store.url):
            if self._connection is not None:
                try:
                    return self._write(self._connection, statement, rows)
                except DBAPIError as error:
                    if not error.connection_invalidated:
                        raise
            self._connection = self._store.raw_connection()
            self._write(self._connection, statement, rows)

    def _write(self, connection: PoolProxiedConnection, statement: str, rows: Rows) -> None:
        driver = self.dialect.loaded_dbapi
        try:
            with closing(connection.cursor()) as cursor:  # a file stays locked by one that is not
                cursor.executemany(statement, rows)
            connection.commit()
        except driver.Error as error:
            is_lost = self.dialect.is_disconnect(error, connection, None)
            self._connection = None
            connection.invalidate(error)
            raise DBAPIError.instance(
                statement, None, error, driver.Error, connection_invalidated=is_lost, dialect=self.dialect
            ) from error

    def close(self) -> None:
        """Give the connection back."""
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
    """What is wrong with a URL may quote some of its password: that is neither said nor kept as a cause."""
    return StartupError(
        "TESSERA_DATABASE_URL cannot be read. Send sqlite:///path or postgresql://…, with %3A, %2F and %40 "
        "for the :, / and @ of a password."
    )


def _sqlite(url: sqlalchemy.URL, synchronous: str) -> Engine:
    engine = sqlalchemy.create_engine(url, pool_size=4, paramstyle="named", connect_args={"timeout": _WAIT_S})
    path = Path(url.database or "")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.touch(mode=0o600)
    except OSError as error:
        raise StartupError(f"The store {url.database} cannot be made: {error.strerror}.") from error

    @event.listens_for(engine, "connect")
    def prepare(connection: SqliteConnection, record: object) -> None:  # pyright: ignore[reportUnusedFunction]
        _use_wal(connection)
        for pragma in ("foreign_keys=ON", f"synchronous={synchronous}"):
            connection.execute(f"PRAGMA {pragma}")

    return engine


def _use_wal(connection: SqliteConnection) -> None:
    """Some of those who do so at once on a fresh file are told that it is locked without the wait that the
    connection has, lest they wait for each other (sqlite.org/c3ref/busy_handler.html).
    """
    ends = monotonic() + _WAIT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except SqliteOperationalError as error:
            if error.sqlite_errorcode != SQLITE_BUSY or monotonic() >= ends:
                raise
            sleep(_BREATH_S)


def _postgresql(url: sqlalchemy.URL) -> Engine:
    from tessera.store.postgresql import Impatient, looking_up

    options = [*url.normalized_query.get("options", ()), f"-c statement_timeout={_WAIT_S * 1000}"]
    ours = {"connect_timeout": str(_WAIT_S), **url.query, "options": " ".join(options)}
    engine = sqlalchemy.create_engine(
        url.set(query=ours), pool_size=4, max_overflow=4, pool_timeout=_WAIT_S, pool_pre_ping=True
    )

    @event.listens_for(engine, "do_connect")
    def connect(  # pyright: ignore[reportUnusedFunction]
        dialect: object, record: object, arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> Impatient:
        with looking_up():
            return Impatient.connect(*arguments, **options)

    return engine
