"""Finds out whether a client that has closed its side of the connection is still there.

A client that sends FIN may have sent all that it wants and be waiting for its reply, or it may have closed
its socket and be gone. The two look the same until something is written: a closed socket answers with a
reset, and the next write fails. So bytes of the reply are sent ahead, one now and then, where they are
known before the reply is: the status line begins with `HTTP/1.1 ` whatever the status, and the size of a
chunk may begin with zeros.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from tessera.server.http1.timer import Timer

PROBES_S = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""After how many seconds each byte is sent, counted from the one before. A reset needs a round trip."""

_BEGINNING = b"HTTP/1.1 "


class ReplyCycle(Protocol):
    """Of uvicorn's request-response cycle what is needed here."""

    transport: asyncio.Transport
    response_started: bool
    response_complete: bool
    chunked_encoding: bool | None


def send_ahead(reply: ReplyCycle) -> None:
    """Sends a byte of the reply if one is known."""
    if not reply.response_started:
        if not isinstance(reply.transport, _BegunTransport):
            reply.transport = _BegunTransport(reply.transport)
        reply.transport.send_ahead()
    elif reply.chunked_encoding and not reply.response_complete:
        reply.transport.write(b"0")


class ClientProbes:
    """Sends bytes ahead to a client that has closed its side, at the times of `PROBES_S`."""

    def __init__(self, reply: Callable[[], ReplyCycle | None]) -> None:
        """`reply` returns the one that the client waits for; None if it waits for none."""
        self._reply = reply
        self._timer = Timer()

    def start(self, after_s: tuple[float, ...] = PROBES_S) -> None:
        def probe() -> None:
            if reply := self._reply():
                send_ahead(reply)
            self.start(after_s[1:])

        self.cancel()
        if after_s:
            self._timer.set(after_s[0], probe)

    def cancel(self) -> None:
        self._timer.cancel()


class _BegunTransport(asyncio.Transport):
    """Leaves out of the first write what has been sent ahead of it."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport
        self._n_ahead = 0

    def send_ahead(self) -> None:
        self._transport.write(_BEGINNING[self._n_ahead : self._n_ahead + 1])
        self._n_ahead = min(self._n_ahead + 1, len(_BEGINNING))

    # asyncio's own name for the argument says nothing.
    def write(self, part: bytes | bytearray | memoryview) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        self._transport.write(part[self._n_ahead :])
        self._n_ahead = 0

    def close(self) -> None:
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()
