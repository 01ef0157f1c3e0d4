"""How many connections a process holds: never so many that it has no file left for anything else.

Anyone can open connections, without a key. When there are too many, those are closed on which the server has
waited longest for the client: for a request, for the rest of a body, or for a reply to be read. A client that
has sent its request and reads its reply keeps its connection; any other must expect that an idle connection
is closed.
"""

import asyncio
import heapq
import resource
from typing import Protocol, TypeVar

MAX_CONNECTIONS = 8192
"""Each may have sent the larger part of a head: half a gigabyte in all."""

SHARE_OF_FILES = 0.75
"""Of the files that the process may open; the rest is for the store, logs and pipes."""

SHARE_CLOSED = 64
"""One of so many is closed at a time, since all of them are looked at to find the oldest."""


class OpenConnection(Protocol):
    """What needs to be known of a connection."""

    transport: asyncio.Transport

    @property
    def waits_since_s(self) -> float | None:
        """Since when the server waits for the client; None while the client waits for the server."""
        ...


C = TypeVar("C", bound=OpenConnection)


def most_connections() -> int:
    """How many connections this process can hold."""
    n_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if n_files == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return min(MAX_CONNECTIONS, int(n_files * SHARE_OF_FILES))


def make_room(connections: set[C], newcomer: C, most: int) -> None:
    """Closes connections if there are more than `most`: those that wait longest, else the newcomer."""
    if len(connections) <= most:
        return
    waiting = [each for each in connections if each.waits_since_s is not None and each is not newcomer]
    oldest = heapq.nsmallest(
        max(1, most // SHARE_CLOSED), waiting, key=lambda each: each.waits_since_s or 0.0
    )
    for connection in oldest or [newcomer]:
        connections.discard(connection)
        connection.transport.abort()
