"""The files in which an instance keeps entries on its own disk: a JSON object on each line.

A file is there, and locked, for as long as its instance lives. One that nobody holds is what a dead instance
has left.
"""

import os
import secrets
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import msgspec

from tessera.core.usage import LedgerEntry

CLOSED = -1
"""No file's descriptor."""

AT_ONCE_BYTES = 256 * 1024

Kind: TypeAlias = Literal["running", "usage"]


def new_instance() -> str:
    """A name for a process that writes usage."""
    return "srv_" + secrets.token_hex(8)


def path_of(folder: Path, instance: str, kind: Kind) -> Path:
    """Where the instance's file of this kind is."""
    return folder / f"{instance}.{kind}.jsonl"


def hold(path: Path) -> int:
    """Make the file and keep it; gives its descriptor. Raises `OSError` where there can be no such file."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    unlocked = path.with_suffix(".new")
    fd = os.open(unlocked, os.O_RDWR | os.O_CREAT, 0o600)
    flock(fd, LOCK_EX)
    unlocked.rename(path)  # nobody has seen it before it was locked
    return fd


def let_go(path: Path, fd: int, *, is_empty: bool) -> None:
    """The instance ends; the file stays if there is something in it."""
    if is_empty:
        path.unlink(missing_ok=True)
    os.close(fd)


def encode(entry: LedgerEntry) -> bytes:
    """An entry's line, without the end of the line."""
    return msgspec.json.encode(entry)


def decode(lines: Iterable[bytes]) -> list[LedgerEntry]:
    """Their entries; lines with none are not whole, or not in use."""
    entries: list[LedgerEntry] = []
    for line in lines:
        with suppress(msgspec.DecodeError):
            entries.append(msgspec.json.decode(line, type=LedgerEntry))
    return entries


def abandoned(folder: Path) -> Iterator[tuple[str, Iterator[list[LedgerEntry]]]]:
    """What dead instances have left: their names and entries, in pieces. A file is gone once the next one is
    asked for.
    """
    for path in sorted(path for kind in get_args(Kind) for path in folder.glob(f"*.{kind}.jsonl")):
        with _seized(path) as fd:
            if fd is not None:
                yield path.name.partition(".")[0], _pieces(fd)
                path.unlink(missing_ok=True)


def _pieces(fd: int) -> Iterator[list[LedgerEntry]]:
    with os.fdopen(fd, "rb", closefd=False) as file:
        while lines := file.readlines(AT_ONCE_BYTES):
            yield decode(lines)


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
