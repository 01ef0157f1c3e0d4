"""Where entries wait while the store cannot be written: a queue in a file."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock

import msgspec

from tessera.core.usage import LedgerEntry
from tessera.errors import StoreUnavailable
from tessera.usage.journal.files import CLOSED, PIECE_BYTES, close, create_locked, decode, path_of

_PAGE_BYTES = 4096


class Spool:
    """The spool of one instance. Safe in threads. Until `open` has succeeded it takes nothing."""

    def __init__(self, folder: Path, instance: str) -> None:
        self._path = path_of(folder, instance, "usage")
        self._fd = CLOSED
        self._lock = Lock()
        self.n_entries = 0
        self._n_bytes = 0
        self._n_forgotten_bytes = 0

    def open(self) -> None:
        """Raises `OSError` where no file can be created."""
        self._fd = create_locked(self._path)

    def append(self, entries: Sequence[LedgerEntry]) -> None:
        """Entries are on the disk when this returns. Raises `StoreUnavailable`."""
        lines = msgspec.json.Encoder().encode_lines(entries)
        with self._lock:
            try:
                _write(self._fd, lines, self._n_bytes)
                os.fsync(self._fd)
            except OSError as error:
                # If it cannot be truncated, the next entries are written over what was written now.
                with suppress(OSError):
                    os.ftruncate(self._fd, self._n_bytes)
                raise _full(error) from error
            self.n_entries += len(entries)
            self._n_bytes += len(lines)

    def probe(self) -> None:
        """Raises `StoreUnavailable` if the disk would not take a page of entries now."""
        with self._lock:
            try:
                _write(self._fd, bytes(_PAGE_BYTES), self._n_bytes)
                os.fsync(self._fd)
            except OSError as error:
                raise _full(error) from error
            finally:
                with suppress(OSError):
                    os.ftruncate(self._fd, self._n_bytes)

    def read(self) -> tuple[list[LedgerEntry], int]:
        """The oldest thousand entries or so, and how many bytes they take."""
        with self._lock:
            n_left = self._n_bytes - self._n_forgotten_bytes
            written = os.pread(self._fd, min(n_left, PIECE_BYTES), self._n_forgotten_bytes)
            if n_left and not written:  # somebody has truncated the file
                self._clear()
        written = written[: written.rfind(b"\n") + 1] or written
        return decode(written.splitlines()), len(written)

    def forget(self, n_entries: int, n_bytes: int) -> None:
        """Drops what was read; the file is truncated when nothing is left."""
        with self._lock:
            self.n_entries -= n_entries
            self._n_forgotten_bytes += n_bytes
            if self._n_forgotten_bytes == self._n_bytes:
                os.ftruncate(self._fd, 0)
                self._clear()

    def _clear(self) -> None:
        self.n_entries = 0
        self._n_bytes = 0
        self._n_forgotten_bytes = 0

    def close(self) -> None:
        """Further calls of other methods fail."""
        with self._lock:
            close(self._path, self._fd, is_empty=not self._n_bytes)
            self._fd = CLOSED


def _full(error: OSError) -> StoreUnavailable:
    """The reason, mostly a full disk, is for the log."""
    failure = StoreUnavailable("Usage cannot be recorded. Send the request again.")
    failure.reason = error.strerror
    return failure


def _write(fd: int, lines: bytes, at: int) -> None:
    rest = memoryview(lines)
    while rest:
        n_written = os.pwrite(fd, rest, at)
        rest = rest[n_written:]
        at += n_written
