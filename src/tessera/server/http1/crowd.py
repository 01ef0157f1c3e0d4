"""How many connections a process holds: never so many that it has no file left for anything else.

Anyone can open connections, without a key. When there are too many, those that have waited longest for a
request are closed; a well-behaved client sends one at once, or expects that an idle connection may close.
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


class IdleConnection(Protocol):
    """What needs to be known of a connection; `idle_since_s` is None while it has a request."""

    transport: asyncio.Transport
    idle_since_s: float | None


C = TypeVar("C", bound=IdleConnection)


def most_connections() -> int:
    """How many connections this process can hold."""
    n_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if n_files == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return min(MAX_CONNECTIONS, int(n_files * SHARE_OF_FILES))


def make_room(connections: set[C], newcomer: C, most: int) -> None:
    """Closes connections if there are more than `most`: the longest idle ones, else the newcomer."""
    if len(connections) <= most:
        return
    idle = [each for each in connections if each.idle_since_s is not None and each is not newcomer]
    oldest = heapq.nsmallest(max(1, most // SHARE_CLOSED), idle, key=lambda each: each.idle_since_s or 0.0)
    for connection in oldest or [newcomer]:
        connections.discard(connection)
        connection.transport.abort()
