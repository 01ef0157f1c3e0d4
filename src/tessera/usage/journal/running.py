"""Requests that run, each with a slot in a file of the instance.

Writing a slot is a copy into the page cache: it takes some microseconds, and outlives the process. It happens
in the event loop, as writing a line of the log does, so the folder must be on a local disk.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tessera.core.usage import OPEN, LedgerEntry
from tessera.usage.base import CurrentEntry
from tessera.usage.journal.files import CLOSED, close, create_locked, path_of

SLOT_BYTES = 1024
"""A line with an entry, padded. No slot lies across two pages: each is written as a whole."""

_FREE = b" "
"""Written over the first byte of a slot: its line is no JSON any more."""


@dataclass(slots=True)
class _RunningRequest:
    current: CurrentEntry
    slot: int | None = None


class RunningRequests:
    """Requests whose end is not recorded yet. Until `open` has succeeded they are in memory only."""

    def __init__(self, folder: Path, instance: str) -> None:
        self._path = path_of(folder, instance, "running")
        self._fd = CLOSED
        self._free: list[int] = []
        self._n_slots = 0
        self._requests: dict[str, _RunningRequest] = {}

    def open(self) -> None:
        """Raises `OSError` where no file can be created."""
        self._fd = create_locked(self._path)

    def close(self) -> None:
        close(self._path, self._fd, is_empty=len(self._free) == self._n_slots)
        self._fd = CLOSED

    def begin(self, id: str, current: CurrentEntry) -> bool:
        """Returns whether the file says that the request runs: its entry must fit into a slot, and the disk
        must take it.
        """
        request = self._requests[id] = _RunningRequest(current)
        slot = self._free[-1] if self._free else self._n_slots
        if not self._write(_line(current()), slot):
            return False
        if self._free:
            self._free.pop()
        else:
            self._n_slots += 1
        request.slot = slot
        return True

    def end(self, entry: LedgerEntry) -> None:
        """The request has ended; it stays here until its end is recorded."""
        if request := self._requests.get(entry.id):
            request.current = lambda: entry

    def forget(self, recorded: LedgerEntry) -> None:
        """The entry is recorded: if it is the request's end, no more is kept of the request."""
        request = None if recorded.finish == OPEN else self._requests.pop(recorded.id, None)
        if request and request.slot is not None:
            # If this fails the entry stays, and may be written to the store twice, which does no harm.
            self._write(_FREE, request.slot)
            self._free.append(request.slot)

    def rewrite(self) -> list[LedgerEntry]:
        """The entries of all of them as they are now, written to the file too."""
        entries: list[LedgerEntry] = []
        for request in self._requests.values():
            entry = request.current()
            entries.append(entry)
            if request.slot is not None:
                self._write(_line(entry), request.slot)
        return entries

    def _write(self, line: bytes, slot: int) -> bool:
        """Returns whether the line was written."""
        try:
            return len(line) <= SLOT_BYTES and os.pwrite(self._fd, line, slot * SLOT_BYTES) == len(line)
        except OSError:
            return False


def _line(entry: LedgerEntry) -> bytes:
    return msgspec.json.encode(entry).ljust(SLOT_BYTES - 1) + b"\n"
