"""A connection to PostgreSQL with a timeout of its own.

The server ends statements that take too long. But if the server itself hangs, or the network drops its
answer, the driver would wait for ever.
"""

import math
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, TypeVar

import sqlalchemy
from psycopg import Connection, OperationalError
from psycopg.abc import PQGen
from psycopg.errors import LockNotAvailable
from psycopg.rows import TupleRow
from sqlalchemy.exc import OperationalError as DriverError

from tessera.errors import StoreUnavailable

T = TypeVar("T")

SILENCE_S = 6.0
LOCK_WAIT_S = 60.0
"""A migration waits so long for the tables that it changes, and for other migrations."""


class TimeoutConnection(Connection[TupleRow]):
    """Raises `OperationalError`, and closes itself, when the server has sent nothing for `silence_s`."""

    silence_s = SILENCE_S

    def wait(  # pyright: ignore[reportIncompatibleMethodOverride] - the next versions' arguments too
        self, gen: PQGen[T], *interval: float, **timeout: float | None
    ) -> T:
        return super().wait(self._with_timeout(gen), *interval, **timeout)

    def _with_timeout(self, gen: PQGen[T]) -> Generator[Any, Any, T]:
        heard_s = time.monotonic()
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if ready:
                    heard_s = time.monotonic()
                elif time.monotonic() - heard_s > self.silence_s:
                    self.close()
                    raise OperationalError("the server does not respond")
                wanted = gen.send(ready)
        except StopIteration as end:
            return end.value


def connect(
    dialect: object, record: object, arguments: tuple[Any, ...], options: dict[str, Any]
) -> TimeoutConnection:
    """Listens to `do_connect`. Raises `OperationalError`, also for a host name that cannot be looked up."""
    try:
        return TimeoutConnection.connect(*arguments, **options)
    except ValueError as error:
        raise OperationalError("the server's name cannot be looked up") from error


@contextmanager
def without_timeouts(connection: sqlalchemy.Connection) -> Generator[None]:
    """Statements of the transaction may take any time. If one waits for a lock longer than `LOCK_WAIT_S`, it
    raises `StoreUnavailable`.
    """
    driver = connection.connection.driver_connection
    assert isinstance(driver, TimeoutConnection)
    connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {round(LOCK_WAIT_S * 1000)}")
    driver.silence_s = math.inf
    try:
        yield
    except DriverError as error:
        if isinstance(error.orig, LockNotAvailable):
            raise StoreUnavailable(
                f"The store's tables were in use for {LOCK_WAIT_S:g} seconds, perhaps by another migration. "
                "Try again when that has ended."
            ) from error
        raise
    finally:
        del driver.silence_s
