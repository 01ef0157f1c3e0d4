"""A deadline for clients that do not read what they asked for.

A reply that its client does not read stays in memory and holds its connection. The kernel gives up on a
client that reads nothing, but not on one that takes a byte now and then.
"""

import asyncio

from tessera.server.http1.timer import Timer

LEAST_BYTES = 16 * 1024
"""A client has to read so much within the deadline, while more than that waits for it."""


class UnreadDeadline:
    """Aborts a connection whose client reads too slowly. It is set while the transport's buffer is full."""

    def __init__(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._timer = Timer()

    def set(self, transport: asyncio.Transport) -> None:
        """Starts the deadline: the buffer of `transport` has just become full."""
        n_before = transport.get_write_buffer_size()

        def look() -> None:
            if n_before - transport.get_write_buffer_size() < LEAST_BYTES:
                transport.abort()
            else:
                self.set(transport)

        self.cancel()
        self._timer.set(self._deadline_s, look)

    def cancel(self) -> None:
        """The client has read most of the buffer, or the connection has ended."""
        self._timer.cancel()
