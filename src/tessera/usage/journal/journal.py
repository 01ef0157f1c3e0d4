"""The journal of one instance: its two files, as the ledger uses them."""

from collections.abc import Callable, Sequence
from pathlib import Path

from tessera.core.usage import LedgerEntry
from tessera.errors import StoreUnavailable
from tessera.usage.journal.files import new_instance
from tessera.usage.journal.running import RunningRequests, Slots
from tessera.usage.journal.spool import Spool


class UsageJournal:
    """`running` is used in the event loop; the other methods block, and are for threads. A journal that could
    not be opened remembers what runs, but has no spool.
    """

    def __init__(self, folder: Path) -> None:
        self.instance = new_instance()
        self.running = RunningRequests()
        self._folder = folder
        self._spool: Spool | None = None

    def open(self) -> None:
        """Raises `OSError` where the files cannot be created."""
        self.running.slots = Slots(self._folder, self.instance)
        self._spool = Spool(self._folder, self.instance)

    def close(self) -> None:
        for file in (self._spool, self.running.slots):
            if file:
                file.close()

    @property
    def n_spooled(self) -> int:
        return self._spool.n_entries if self._spool else 0

    def spool(self, entries: Sequence[LedgerEntry]) -> None:
        """Makes entries durable without the store; raises `StoreUnavailable`."""
        if self._spool is None:
            raise StoreUnavailable("Usage cannot be recorded now. Send the request again.")
        self._spool.append(entries)

    def unspool(self, write: Callable[[list[LedgerEntry]], None]) -> None:
        """Writes the oldest entries of the spool, and drops them from it unless `write` raises."""
        if self._spool:
            entries, n_bytes = self._spool.read()
            write(entries)
            self._spool.forget(len(entries), n_bytes)
