"""What an instance writes to the store every few seconds: that it is alive, its running requests, and what
dead instances have left behind.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tessera.core.usage import OPEN, LedgerEntry, day_of
from tessera.store import instances, usage
from tessera.store.database import Database, transaction
from tessera.usage.journal.files import abandoned
from tessera.usage.retention import kept_since
from tessera.usage.salvage import write_valid


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The heartbeat of one instance, whose files are in `folder`."""

    store: Database
    folder: Path
    instance: str
    retention_days: int
    tiers: Sequence[str] = ()

    def beat(self, running: list[LedgerEntry]) -> None:
        """Raises `StoreUnavailable`."""
        self._take_over()
        with transaction(self.store) as connection:
            now_s = instances.clock_s(connection)
            instances.beat(connection, self.instance, now_s, self.tiers)
            usage.write(connection, self.instance, running)
            usage.close_abandoned(connection, now_s - instances.DEAD_AFTER_S)

    def _take_over(self) -> None:
        for instance, pieces in abandoned(self.folder):
            for entries in pieces:
                write_valid(partial(self._write, instance), entries)
            with transaction(self.store) as connection:
                instances.forget(connection, instance)

    def _write(self, instance: str, entries: Sequence[LedgerEntry]) -> None:
        first_day = kept_since(self.retention_days)
        # An old request is part of its day's sum already, and must not become a row again.
        kept = [one for one in entries if one.finish != OPEN or day_of(one.begun_s) >= first_day]
        with transaction(self.store) as connection:
            usage.write(connection, instance, kept)
