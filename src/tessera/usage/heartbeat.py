"""What an instance tells the store every few seconds: that it lives, what runs, what the dead have left."""

from dataclasses import dataclass
from pathlib import Path

from tessera.core.usage import OPEN, LedgerEntry
from tessera.store import usage
from tessera.store.opening import Store, transaction
from tessera.usage.journal.files import abandoned
from tessera.usage.retention import kept_since

DEAD_AFTER_S = 60.0
"""An instance that was not seen for so long is dead; one whose files nobody holds is dead at once."""


@dataclass(frozen=True, slots=True)
class Round:
    """That of one instance, whose files are in `folder`."""

    store: Store
    folder: Path
    instance: str
    retention_days: int

    def make(self, running: list[LedgerEntry]) -> None:
        """Tell it; raises `StoreUnavailable`."""
        self._take_over()
        with transaction(self.store) as connection:
            now_s = usage.clock_s(connection)
            usage.beat(connection, self.instance, now_s)
            usage.write(connection, self.instance, running)
            usage.close_abandoned(connection, now_s - DEAD_AFTER_S)

    def _take_over(self) -> None:
        first_day = kept_since(self.retention_days)
        for instance, pieces in abandoned(self.folder):
            for entries in pieces:
                # What has become part of a day's sums must not be a row again.
                kept = [
                    one for one in entries if one.finish != OPEN or usage.day_of(one.begun_s) >= first_day
                ]
                with transaction(self.store) as connection:
                    usage.write(connection, instance, kept)
            with transaction(self.store) as connection:
                usage.bury(connection, instance)
