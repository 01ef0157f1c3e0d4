"""The requests that fronts have announced to a replica, until they have ended.

A front calls the replica through Ray Serve, and sends the request itself to the replica's own HTTP listener.
The call lasts as long as the request: so Ray Serve knows how many requests each replica has, scales by that,
and waits for them before it ends a replica, although no byte of them passes through it.
"""

import asyncio
import secrets
from collections.abc import Generator
from contextlib import contextmanager

ARRIVAL_S = 30.0
"""After an announcement, the request must arrive within this time: its front may have been lost."""


class Hold:
    """A request that a front has announced. It arrives a moment later, or never if the front is lost."""

    def __init__(self, arrival_s: float) -> None:
        self.id = secrets.token_hex(8)
        self.arrived = asyncio.Event()
        self.ended = asyncio.Event()
        self._arrival_s = arrival_s

    async def until_ended(self) -> None:
        """Returns when the request has ended, or did not arrive in time."""
        try:
            async with asyncio.timeout(self._arrival_s):
                await self.arrived.wait()
        except TimeoutError:
            return
        await self.ended.wait()


class Holds:
    """The announced requests of one replica, by the ids of their holds."""

    def __init__(self, arrival_s: float = ARRIVAL_S) -> None:
        self._arrival_s = arrival_s
        self._open: dict[str, Hold] = {}

    @property
    def n(self) -> int:
        return len(self._open)

    @contextmanager
    def announced(self) -> Generator[Hold]:
        """A request that will arrive under the id of the hold."""
        hold = Hold(self._arrival_s)
        self._open[hold.id] = hold
        try:
            yield hold
        finally:
            del self._open[hold.id]

    @contextmanager
    def answering(self, id: str) -> Generator[None]:
        """Entered around the answer to the request of that id, which may be unknown here."""
        hold = self._open.get(id)
        if hold is None:
            yield
            return
        hold.arrived.set()
        try:
            yield
        finally:
            hold.ended.set()
