"""uvicorn's server with a way down that loses no reply.

    drain   /readyz answers 503, everything else goes on: a balancer has `delay_s` to notice
            after it, new chat requests get 503 and running replies are finished, for up to `grace_s`
    end     replies that still run end with an error, and so does the server

From `drain` on, every response closes its connection, so that clients connect anew, elsewhere.
"""

import asyncio
import socket
import time
from collections.abc import Generator
from contextlib import contextmanager

import uvicorn

from tessera.http.inflight import InFlight

_CLOSE = (b"connection", b"close")


class SignalFreeServer(uvicorn.Server):
    """A server that leaves signals to whoever runs it; `listening` is set when it answers."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn does it."""
        await super().startup(sockets)
        self.listening.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn does it; what the application holds is put away also when there is a hurry."""
        await super().shutdown(sockets)
        if self.force_exit:
            await self.lifespan.shutdown()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """In place of uvicorn's."""
        yield


class DrainingServer(SignalFreeServer):
    """Ends by itself after `drain`, when the last reply is finished or the grace is over."""

    def __init__(
        self, config: uvicorn.Config, in_flight: InFlight, *, delay_s: float, grace_s: float
    ) -> None:
        super().__init__(config)
        self._in_flight = in_flight
        self._delay_s = delay_s
        self._grace_s = grace_s
        self._refuse_at: float | None = None

    def drain(self) -> None:
        """Begin the way down."""
        if self._refuse_at is None:
            self._in_flight.leave()
            self.config.encoded_headers.append(_CLOSE)
            self.server_state.default_headers.append(_CLOSE)
            self._refuse_at = time.monotonic() + self._delay_s
            if not self._delay_s:
                self._refuse()

    def end(self) -> None:
        """Go the rest of it at once."""
        self._in_flight.drain()
        self._in_flight.end()
        self.should_exit = self.force_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second; true ends the server."""
        now = time.monotonic()
        if self._refuse_at is not None and now >= self._refuse_at:
            self._refuse()
            if self._in_flight.n == 0:
                self.should_exit = True
            elif now >= self._refuse_at + self._grace_s:
                self._in_flight.end()
                self.should_exit = True
        return await super().on_tick(counter)

    def _refuse(self) -> None:
        """Take no more work; a connection without a request is closed, the others after theirs."""
        if not self._in_flight.draining:
            self._in_flight.drain()
            for connection in tuple(self.server_state.connections):
                connection.shutdown()
