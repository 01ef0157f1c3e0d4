"""Where entries wait while the store is away, one after the other."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock

from tessera.core.usage import LedgerEntry
from tessera.errors import StoreUnavailable
from tessera.usage.journal.files import AT_ONCE_BYTES, CLOSED, decode, encode, hold, let_go, path_of


class Spool:
    """The file of one instance. Safe in threads."""

    def __init__(self, folder: Path, instance: str) -> None:
        """Raises `OSError` where there can be no such file."""
        self._path = path_of(folder, instance, "usage")
        self._fd = hold(self._path)
        self._turn = Lock()
        self.n_entries = 0
        self._n_bytes = self._n_forgotten_bytes = 0

    def append(self, entries: Sequence[LedgerEntry]) -> None:
        """Keep entries; they are on the disk when this returns. Raises `StoreUnavailable`."""
        lines = b"".join(encode(entry) + b"\n" for entry in entries)
        with self._turn:
            try:
                _write(self._fd, lines, self._n_bytes)
                os.fsync(self._fd)
            except OSError as error:
                with suppress(OSError):  # else the next one is written over it
                    os.ftruncate(self._fd, self._n_bytes)
                raise StoreUnavailable("Usage cannot be recorded. Send the request again.") from error
            self.n_entries += len(entries)
            self._n_bytes += len(lines)

    def read(self) -> tuple[list[LedgerEntry], int]:
        """The next thousand or so that are kept, and how many bytes they are."""
        with self._turn:
            n_left = self._n_bytes - self._n_forgotten_bytes
            written = os.pread(self._fd, min(n_left, AT_ONCE_BYTES), self._n_forgotten_bytes)
        written = written[: written.rfind(b"\n") + 1] or written
        return decode(written.splitlines()), len(written)

    def forget(self, n_entries: int, n_bytes: int) -> None:
        """Drop what was read; the file shrinks when nothing is left."""
        with self._turn:
            self.n_entries -= n_entries
            self._n_forgotten_bytes += n_bytes
            if self._n_forgotten_bytes == self._n_bytes:
                os.ftruncate(self._fd, 0)
                self.n_entries = self._n_bytes = self._n_forgotten_bytes = 0

    def close(self) -> None:
        """The instance ends. Whatever still wants something of the file fails."""
        with self._turn:
            let_go(self._path, self._fd, is_empty=not self._n_bytes)
            self._fd = CLOSED


def _write(fd: int, lines: bytes, at: int) -> None:
    rest = memoryview(lines)
    while rest:
        n_written = os.pwrite(fd, rest, at)
        rest, at = rest[n_written:], at + n_written
