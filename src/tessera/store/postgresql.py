"""A connection to PostgreSQL that gives up a server which has fallen silent.

The server ends statements that take too long, but not if it hangs itself, or the network swallows what it
says: then the driver would wait for ever.
"""

import time
from collections.abc import Generator
from typing import Any, TypeVar

from psycopg import Connection, OperationalError
from psycopg.abc import PQGen
from psycopg.rows import TupleRow

T = TypeVar("T")

SILENCE_S = 6.0


class Impatient(Connection[TupleRow]):
    """Raises `OperationalError`, and is closed, when nothing has come for `silence_s`."""

    silence_s = SILENCE_S

    def wait(  # pyright: ignore[reportIncompatibleMethodOverride] - the next versions' arguments too
        self, gen: PQGen[T], *interval: float, **timeout: float | None
    ) -> T:
        """See `Connection`."""
        return super().wait(self._in_time(gen), *interval, **timeout)

    def _in_time(self, gen: PQGen[T]) -> Generator[Any, Any, T]:
        heard_s = time.monotonic()
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if ready:
                    heard_s = time.monotonic()
                elif time.monotonic() - heard_s > self.silence_s:
                    self.close()
                    raise OperationalError("the server has fallen silent")
                wanted = gen.send(ready)
        except StopIteration as end:
            return end.value
