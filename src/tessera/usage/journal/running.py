"""Requests that run, each with a slot in a file of the instance, where it is written that they do.

That is a copy into the system's cache, some microseconds, and outlives the process. It happens in the event
loop, as a line of the log does: the folder has to be on a disk of the machine's own.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from tessera.core.usage import LedgerEntry
from tessera.usage.base import Look
from tessera.usage.journal.files import CLOSED, encode, hold, let_go, path_of

SLOT_BYTES = 1024
"""A line with an entry, filled up. Never across two pages, so that one is written as a whole."""

_FREE = b" "
"""Over the first byte of a slot: its line is no JSON any more."""


class Slots:
    """The file of one instance."""

    def __init__(self, folder: Path, instance: str) -> None:
        """Raises `OSError` where there can be no such file."""
        self._path = path_of(folder, instance, "running")
        self._fd = hold(self._path)
        self._free: list[int] = []
        self._n_slots = 0

    def take(self, entry: LedgerEntry) -> int | None:
        """Write the entry to a free slot, and say to which; None if that is not possible."""
        slot = self._free[-1] if self._free else self._n_slots
        if not self.write(entry, slot):
            return None
        if self._free:
            self._free.pop()
        else:
            self._n_slots += 1
        return slot

    def write(self, entry: LedgerEntry, slot: int) -> bool:
        """Write the entry to its slot; says whether that was possible: it is short, and the disk takes it."""
        line = encode(entry).ljust(SLOT_BYTES - 1) + b"\n"
        return len(line) == SLOT_BYTES and self._write(line, slot)

    def free(self, slot: int) -> None:
        """What is in it is of no use any more."""
        self._write(_FREE, slot)  # or it stays: an entry may be written to the store twice
        self._free.append(slot)

    def close(self) -> None:
        """The instance ends."""
        let_go(self._path, self._fd, is_empty=len(self._free) == self._n_slots)
        self._fd = CLOSED

    def _write(self, line: bytes, slot: int) -> bool:
        try:
            return os.pwrite(self._fd, line, slot * SLOT_BYTES) == len(line)
        except OSError:
            return False


@dataclass(slots=True)
class _Request:
    look: Look
    slot: int | None


class Running:
    """Requests whose end is not on record yet. Without `slots` nothing is written of them."""

    def __init__(self) -> None:
        self.slots: Slots | None = None
        self._requests: dict[str, _Request] = {}

    def begin(self, id: str, look: Look) -> bool:
        """A request runs; says whether that is written."""
        slot = self.slots.take(look()) if self.slots else None
        self._requests[id] = _Request(look, slot)
        return slot is not None

    def end(self, entry: LedgerEntry) -> None:
        """It has ended so."""
        if request := self._requests.get(entry.id):
            request.look = lambda: entry

    def forget(self, id: str) -> None:
        """Its end is on record."""
        request = self._requests.pop(id, None)
        if self.slots and request and request.slot is not None:
            self.slots.free(request.slot)

    def entries(self) -> list[LedgerEntry]:
        """All of them, as they are now; it is written again, too."""
        entries: list[LedgerEntry] = []
        for request in self._requests.values():
            entries.append(entry := request.look())
            if self.slots and request.slot is not None:
                self.slots.write(entry, request.slot)
        return entries
