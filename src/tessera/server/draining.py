"""uvicorn's server with a shutdown that loses no reply.

| phase | begins | `/readyz` | new chat requests | running replies |
|---|---|---|---|---|
| leaving | at `drain` | 503 | answered: a balancer has `delay_s` to notice | go on |
| draining | after `delay_s` | 503 | 503 | go on, for up to `grace_s` |
| ended | at the last reply, after `grace_s`, or at `end` | no answer | no answer | end with an error |

From `drain` on, every response closes its connection, so that clients connect to another server.
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
    """A server that handles no signals; `listening` is set when it answers."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self.force_exit:  # uvicorn would then leave the application's resources open
            await self.lifespan.shutdown()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class DrainingServer(SignalFreeServer):
    """After `drain` it ends by itself, when the last reply is finished or `grace_s` is over."""

    def __init__(
        self, config: uvicorn.Config, in_flight: InFlight, *, delay_s: float, grace_s: float
    ) -> None:
        super().__init__(config)
        self._in_flight = in_flight
        self._delay_s = delay_s
        self._grace_s = grace_s
        self._refuse_at: float | None = None

    def drain(self) -> None:
        """Begins the shutdown; further calls change nothing."""
        if self._refuse_at is None:
            self._in_flight.leave()
            self.config.encoded_headers.append(_CLOSE)
            self.server_state.default_headers.append(_CLOSE)
            self._refuse_at = time.monotonic() + self._delay_s
            if not self._delay_s:
                self._refuse()

    def end(self) -> None:
        """Ends the shutdown now; replies that still run end with an error."""
        self._in_flight.drain()
        self._in_flight.end()
        self.should_exit = True
        self.force_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Uvicorn calls this ten times a second; True ends the server."""
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
        """Takes no more requests; idle connections are closed, the others after their request."""
        if not self._in_flight.draining:
            self._in_flight.drain()
            for connection in tuple(self.server_state.connections):
                connection.shutdown()
