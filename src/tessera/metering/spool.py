"""Where entries wait while the store is away: a file for each instance, a JSON object on each line.

The file is there, and locked, for as long as its instance lives. One that nobody holds is what a dead
instance has left.
"""

import os
import secrets
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from threading import Lock

import msgspec

from tessera.core.entry import Entry
from tessera.errors import StoreUnavailable

_SUFFIX = ".usage.jsonl"
_AT_ONCE_BYTES = 256 * 1024


def new_instance() -> str:
    """A name for a process that writes usage."""
    return "srv_" + secrets.token_hex(8)


class Spool:
    """The file of one instance. Safe in threads."""

    def __init__(self, folder: Path, instance: str) -> None:
        """Raises `OSError` where there can be no such file."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = folder / (instance + _SUFFIX)
        self._turn = Lock()
        self.n_entries = 0
        self._n_forgotten_bytes = 0
        unlocked = self._path.with_suffix(".new")
        self._fd = os.open(unlocked, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        flock(self._fd, LOCK_EX)
        unlocked.rename(self._path)  # nobody has seen it before it was locked

    def append(self, entries: Sequence[Entry]) -> None:
        """Keep entries; they are on the disk when this returns. Raises `StoreUnavailable`."""
        lines = b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries)
        with self._turn:
            size = os.fstat(self._fd).st_size
            try:
                _write(self._fd, lines)
                os.fsync(self._fd)
            except OSError as error:
                with suppress(OSError):
                    os.ftruncate(self._fd, size)
                raise StoreUnavailable("Usage cannot be recorded. Send the request again.") from error
            self.n_entries += len(entries)

    def read(self) -> tuple[list[Entry], int]:
        """The next thousand or so that are kept, and how many bytes they are."""
        with self._turn:
            written = os.pread(self._fd, _AT_ONCE_BYTES, self._n_forgotten_bytes)
        written = written[: written.rfind(b"\n") + 1] or written
        return _entries(written), len(written)

    def forget(self, n_entries: int, n_bytes: int) -> None:
        """Drop what was read; the file shrinks when nothing is left."""
        with self._turn:
            self.n_entries -= n_entries
            self._n_forgotten_bytes += n_bytes
            if self._n_forgotten_bytes == os.fstat(self._fd).st_size:
                os.ftruncate(self._fd, 0)
                self.n_entries = self._n_forgotten_bytes = 0

    def close(self) -> None:
        """The instance ends; the file stays if there is something in it."""
        if not os.fstat(self._fd).st_size:
            self._path.unlink(missing_ok=True)
        os.close(self._fd)


def abandoned(folder: Path) -> Iterator[tuple[str, list[Entry]]]:
    """What dead instances have left: their names and entries. A file is gone once the next one is asked
    for.
    """
    for path in sorted(folder.glob("*" + _SUFFIX)):
        with _seized(path) as fd:
            if fd is not None:
                yield path.name.removesuffix(_SUFFIX), _entries(_read(fd))
                path.unlink(missing_ok=True)


@contextmanager
def _seized(path: Path) -> Generator[int | None]:
    """The file, if nobody holds it."""
    try:
        fd = os.open(path, os.O_RDWR)
    except OSError:
        yield None
        return
    try:
        flock(fd, LOCK_EX | LOCK_NB)
    except OSError:
        os.close(fd)
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)


def _write(fd: int, lines: bytes) -> None:
    rest = memoryview(lines)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _read(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


def _entries(written: bytes) -> list[Entry]:
    entries: list[Entry] = []
    for line in written.splitlines():
        with suppress(msgspec.DecodeError):  # a line that was being written when its writer died
            entries.append(msgspec.json.decode(line, type=Entry))
    return entries
