"""What the engine's process uses memory for, and where that ends.

    weights and runtime     known when the engine is ready
    keys and values         `kv_cache_bytes`, resident from the moment when a block is first used
    kernels                 made for every new number of rows; OpenVINO keeps a bounded number of them
    grammars                grow with what clients ask: at most `grammar_bytes`

The automata of a grammar grow while it is followed, by up to hundreds of megabytes, and the library does not
say how large they are. So they are measured together: what is allocated more than when the engine was ready,
kernels not counted, is theirs.
"""

import ctypes
import os
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Protocol, TypeVar

Measure = Callable[[], int | None]

LOOK_EVERY_S = 0.5

_STATM = Path("/proc/self/statm")


class Followed(Protocol):
    """What is known of a request that follows a grammar."""

    @property
    def spent_s(self) -> float:
        """Processor time of its masks, with which its automata grow."""
        ...

    @property
    def is_slow(self) -> bool:
        """Whether that is more than usual."""
        ...


FollowedT = TypeVar("FollowedT", bound=Followed)


class Kept(Protocol):
    """Grammars that are kept for later requests."""

    def drop(self) -> None: ...


class Memory:
    """Keeps account of the memory of a process whose engine is ready. Used by the engine's own thread."""

    def __init__(self, kept: Kept, most_grammar_bytes: int, measure: Measure) -> None:
        """`measure` returns the bytes that are allocated; None where that is not known."""
        self._kept = kept
        self._most = most_grammar_bytes
        self._measure = measure
        self._base = measure() or 0
        self._looked_s = -LOOK_EVERY_S
        self._rows: set[tuple[str, int]] = set()
        self.kernel_bytes = 0
        self.grammar_bytes = 0
        self.resident_bytes = resident_bytes()

    @contextmanager
    def making_kernels(self, n_rows: int, n_sampled: int) -> Generator[None]:
        """Wraps a pass: what it allocates counts as kernels if it is the first one with so many rows."""
        new = {("rows", n_rows), ("sampled", n_sampled)} - self._rows
        before = self._measure() if new else None
        yield
        if before is not None:
            self._rows |= new
            self.kernel_bytes += max(0, (self._measure() or 0) - before)

    def is_due(self) -> bool:
        """Whether it is time for `look` again."""
        now_s = time.monotonic()
        due = now_s >= self._looked_s + LOOK_EVERY_S
        if due:
            self._looked_s = now_s
        return due

    def look(self, followed: Iterable[FollowedT]) -> FollowedT | None:
        """Measures, and drops the kept grammars if all grammars together are too large.

        If that does not suffice, the request to be ended is returned: the one whose masks took longest, among
        those whose masks are slow.
        """
        self.resident_bytes = resident_bytes()
        if self._grammars() <= self._most:
            return None
        self._kept.drop()
        trim()
        alive = list(followed)
        left = self._grammars()
        if not alive:  # then what is left is not theirs
            self._base += left
            self._grammars()
        elif left > self._most:
            return max((each for each in alive if each.is_slow), key=lambda each: each.spent_s, default=None)
        return None

    def _grammars(self) -> int:
        allocated = self._measure()
        self.grammar_bytes = 0 if allocated is None else max(0, allocated - self._base - self.kernel_bytes)
        return self.grammar_bytes


class _Mallinfo(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


@cache
def _glibc() -> ctypes.CDLL | None:
    """The C library, if it is one that counts what it has allocated (glibc 2.33 and later)."""
    try:
        library = ctypes.CDLL(None)
        library.mallinfo2.restype = _Mallinfo
        library.malloc_trim.argtypes = [ctypes.c_size_t]
    except (OSError, AttributeError, TypeError):
        return None
    return library


def heap_bytes() -> int | None:
    """What is allocated in the heaps of all threads, resident or not; None where that is not counted."""
    library = _glibc()
    if library is None:
        return None
    counted = library.mallinfo2()
    return int(counted.uordblks + counted.hblkhd)


def trim() -> None:
    """Returns free memory to the kernel."""
    if library := _glibc():
        library.malloc_trim(0)


def resident_bytes() -> int | None:
    """Of this process; None where there is no /proc."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None
