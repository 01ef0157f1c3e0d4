"""Requests that run, each with a place in a file of the instance, where its beginning is written.

That is a copy into the system's cache, some microseconds, and outlives the process: a commit of the store's
would cost ten times that, and a wait, for a row that is written again when the request ends.
"""

import os
from pathlib import Path

from tessera.core.entry import Entry
from tessera.metering.base import Look
from tessera.metering.files import encode, hold, let_go, path_of

_KIND = "running"
PLACE_BYTES = 1024
"""A line with an entry, filled up. Never across two pages, so that one is written as a whole."""

_UNUSED = b" "
"""Over the first byte of a place: its line is no JSON any more."""


class Places:
    """The file of one instance."""

    def __init__(self, folder: Path, instance: str) -> None:
        """Raises `OSError` where there can be no such file."""
        self._path = path_of(folder, instance, _KIND)
        self._fd = hold(self._path)
        self._free: list[int] = []
        self._n_places = 0

    def take(self, entry: Entry) -> int | None:
        """Write the entry to a place, and say which; None if it is too long, or the disk does not take it."""
        line = encode(entry).ljust(PLACE_BYTES - 1) + b"\n"
        place = self._free[-1] if self._free else self._n_places
        if len(line) > PLACE_BYTES or not self._write(line, place):
            return None
        if self._free:
            self._free.pop()
        else:
            self._n_places += 1
        return place

    def leave(self, place: int) -> None:
        """What is in it is of no use any more."""
        self._write(_UNUSED, place)  # or it stays, which does no harm: the store knows how the request ended
        self._free.append(place)

    def close(self) -> None:
        """The instance ends."""
        let_go(self._path, self._fd, is_empty=len(self._free) == self._n_places)

    def _write(self, line: bytes, place: int) -> bool:
        try:
            return os.pwrite(self._fd, line, place * PLACE_BYTES) == len(line)
        except OSError:
            return False


class Running:
    """Those of one ledger. Without `places` no beginning is written."""

    def __init__(self) -> None:
        self.places: Places | None = None
        self._looks: dict[str, Look] = {}
        self._place_of: dict[str, int] = {}

    def begin(self, id: str, look: Look) -> bool:
        """A request runs; says whether that is written."""
        self._looks[id] = look
        place = self.places.take(look()) if self.places else None
        if place is not None:
            self._place_of[id] = place
        return place is not None

    def end(self, id: str) -> None:
        """It runs no more; what was written stays, for how it ended is not on record yet."""
        self._looks.pop(id, None)

    def forget(self, id: str) -> None:
        """How it ended is on record."""
        place = self._place_of.pop(id, None)
        if place is not None and self.places:
            self.places.leave(place)

    def entries(self) -> list[Entry]:
        """All that run, as they are now."""
        return [look() for look in self._looks.values()]
