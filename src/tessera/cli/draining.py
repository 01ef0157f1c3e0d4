"""uvicorn's server with a way down that loses no reply."""

import signal
import time
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

import uvicorn

from tessera.http.inflight import InFlight


class DrainingServer(uvicorn.Server):
    """On the first SIGTERM or SIGINT no new chat request is taken and those that run are finished, for up to
    `grace_s`; health is still answered. A second signal ends at once.
    """

    def __init__(self, config: uvicorn.Config, in_flight: InFlight, grace_s: float) -> None:
        super().__init__(config)
        self._in_flight = in_flight
        self._grace_s = grace_s
        self._give_up_at: float | None = None

    @property
    def draining(self) -> bool:
        """Whether a signal came."""
        return self._give_up_at is not None

    def drain(self, number: int, frame: FrameType | None) -> None:
        """What a signal does: it only sets flags."""
        if self.draining:
            self.should_exit = self.force_exit = True
        else:
            self._in_flight.drain()
            self._give_up_at = time.monotonic() + self._grace_s

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second; true ends the server."""
        if self._give_up_at is not None and (self._in_flight.n == 0 or time.monotonic() >= self._give_up_at):
            self.should_exit = True
        return await super().on_tick(counter)

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """In place of uvicorn's, which closes the listeners first."""
        before = {number: signal.signal(number, self.drain) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
