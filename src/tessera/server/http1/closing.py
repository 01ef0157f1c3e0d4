"""How a connection ends while its client may still be sending.

A kernel answers bytes that nobody has read when a socket is closed, or that arrive later, with a reset, and a
reset can destroy the reply that was sent before: a client whose body is too large would never learn why. So
only our side is closed at first, and what arrives is thrown away until the client closes its side too
(RFC 9112, 9.6).
"""

import asyncio
from collections.abc import Callable

LINGER_S = 5.0
"""A client has so long to notice that its connection ends."""


class GentlyClosing(asyncio.Transport):
    """The transport of a reply that may be complete before its request is; `close` is what closes it."""

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        super().__init__()
        self._transport = transport
        self._close = close

    # asyncio's own name for the argument says nothing.
    def write(self, part: bytes | bytearray | memoryview) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        self._transport.write(part)

    def close(self) -> None:
        self._close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()
