"""The files of a journal: an entry as a JSON object on each line.

An instance is one process that writes usage. Its files exist, and are locked, for as long as it lives. A file
that nobody has locked was left by an instance that has died.
"""

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias, get_args

import msgspec

from tessera.core.usage import LedgerEntry

CLOSED = -1
"""Not a file descriptor."""

PIECE_BYTES = 256 * 1024
"""So much of a file is read at once."""

Kind: TypeAlias = Literal["running", "usage"]


def new_instance() -> str:
    """A new instance's name."""
    return "srv_" + secrets.token_hex(8)


def path_of(folder: Path, instance: str, kind: Kind) -> Path:
    """Where the instance's file of this kind is."""
    return folder / f"{instance}.{kind}.jsonl"


def create_locked(path: Path) -> int:
    """Creates a file with a lock on it, and returns its descriptor. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    unlocked = path.with_suffix(".new")
    fd = os.open(unlocked, os.O_RDWR | os.O_CREAT, 0o600)
    flock(fd, LOCK_EX)
    unlocked.rename(path)  # under its own name nobody has seen it without the lock
    return fd


def close(path: Path, fd: int, *, is_empty: bool) -> None:
    """Closes an instance's file if it is open, and deletes it if nothing is in it."""
    if fd == CLOSED:
        return
    if is_empty:
        path.unlink(missing_ok=True)
    os.close(fd)


def decode(lines: Iterable[bytes]) -> list[LedgerEntry]:
    """The entries of lines. A line that is incomplete or damaged, or a slot that is free, has none."""
    entries: list[LedgerEntry] = []
    for line in lines:
        with suppress(msgspec.DecodeError, UnicodeError):
            entries.append(msgspec.json.decode(line, type=LedgerEntry))
    return entries


def abandoned(folder: Path) -> Iterator[tuple[str, Iterator[list[LedgerEntry]]]]:
    """The names of dead instances, and the entries they left, in pieces. A file is deleted when the next one
    is asked for.
    """
    for path in sorted(path for kind in get_args(Kind) for path in folder.glob(f"*.{kind}.jsonl")):
        with ExitStack() as closing:
            try:
                file = closing.enter_context(path.open("r+b"))
                flock(file, LOCK_EX | LOCK_NB)
            except OSError:
                continue  # another process has locked or deleted it
            yield path.name.partition(".")[0], _pieces(file)
            path.unlink(missing_ok=True)


def _pieces(file: BinaryIO) -> Iterator[list[LedgerEntry]]:
    while lines := file.readlines(PIECE_BYTES):
        yield decode(lines)
