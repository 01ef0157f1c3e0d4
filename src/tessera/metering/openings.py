"""Requests that run, and whose beginning is not on record yet.

A commit costs more than what is in it. So a beginning waits until it has to be there, goes with a commit that
happens meanwhile, or is never written at all: a request that has ended by then is written once, as it ended.
"""

import math
from dataclasses import dataclass

from tessera.core.entry import Entry
from tessera.metering.base import Look, Written

WITHIN_S = 0.1
"""A beginning is on record then, if the request still runs and nobody asked for it before."""

ALONG_S = 0.05
"""One that is as old as that goes with any commit."""


@dataclass(slots=True, eq=False)
class Opening:
    """Of one request, since `since_s`. `written` is there when it is being written, or was."""

    look: Look
    since_s: float
    written: Written | None = None


class Openings:
    """Those of one ledger; times are of a clock that never goes back."""

    def __init__(self) -> None:
        self._running: dict[str, Opening] = {}
        self._unwritten: dict[str, Opening] = {}  # the oldest first

    def begin(self, id: str, look: Look, now_s: float) -> None:
        """A request runs."""
        self._running[id] = self._unwritten[id] = Opening(look, now_s)

    def end(self, id: str) -> None:
        """It has ended; if it is not being written, it need not be any more."""
        self._running.pop(id, None)
        self._unwritten.pop(id, None)

    def take(self, id: str) -> Opening:
        """That of a request that runs: whoever takes one that is unwritten has to have it written."""
        self._unwritten.pop(id, None)
        return self._running[id]

    def due_s(self, now_s: float) -> float | None:
        """How long it is until one has to be written; None if there is none."""
        oldest = next(iter(self._unwritten.values()), None)
        return None if oldest is None else max(0.0, oldest.since_s + WITHIN_S - now_s)

    def take_along(self, now_s: float) -> list[Opening]:
        """Those that go with a commit which happens now."""
        return self._take_older(now_s - ALONG_S)

    def take_all(self) -> list[Opening]:
        """Those that are unwritten."""
        return self._take_older(math.inf)

    def _take_older(self, than_s: float) -> list[Opening]:
        ids: list[str] = []
        for id, opening in self._unwritten.items():
            if opening.since_s > than_s:
                break
            ids.append(id)
        return [self._unwritten.pop(id) for id in ids]

    def entries(self) -> list[Entry]:
        """All that run, as they are now."""
        return [opening.look() for opening in self._running.values()]
