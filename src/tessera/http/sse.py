"""One server-sent event stream over ASGI."""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.types import Send

from tessera.http.context import Abort, WriteNow
from tessera.http.limits import HttpLimits
from tessera.http.presence import give_up, send_within
from tessera.wire.stream import KEEP_ALIVE

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class EventStream:
    """Sends its headers with the first frames, so that what fails before them still has an HTTP status.

    Frames come from the task that owns the generation; `beat` is called beside it.
    """

    def __init__(
        self,
        send: Send,
        limits: HttpLimits,
        headers: list[tuple[bytes, bytes]],
        *,
        abort: Abort | None = None,
        write_now: WriteNow | None = None,
        before: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`write_now` is quicker than `send`; `before` is awaited before the first byte is sent."""
        self.started = False
        self._send = send
        self._limits = limits
        self._headers = [*HEADERS, *headers]
        self._abort = abort
        self._write_now = write_now
        self._before = before
        self._lock = asyncio.Lock()
        self._now = asyncio.get_running_loop().time
        self._sending_since_s: float | None = None
        self._silent_since_s = self._now()

    def write_now(self, frames: bytes) -> bool:
        """Sends frames if that needs no wait, else returns False: use `write`."""
        if self._write_now is None or not self._write_now(frames):
            return False
        self._silent_since_s = self._now()
        return True

    async def write(self, frames: bytes, *, more: bool = True) -> None:
        """Sends frames together; waits while the client is slow to read."""
        async with self._lock:
            self._sending_since_s = self._now()
            if not self.started:
                if self._before:
                    await self._before()
                self.started = True
                await self._send({"type": "http.response.start", "status": 200, "headers": self._headers})
            await self._send({"type": "http.response.body", "body": frames, "more_body": more})
            self._silent_since_s = self._now()
            self._sending_since_s = None

    async def beat(self) -> float:
        """Sends a comment after a long silence; raises `ClientGone` if the client does not read."""
        if self._sending_since_s is not None:
            left_s = self._sending_since_s + self._limits.send_deadline_s - self._now()
            if left_s <= 0:
                give_up(self._abort)
            return left_s
        left_s = self._silent_since_s + self._limits.keep_alive_s - self._now()
        if left_s > 0:
            return left_s
        await send_within(self._limits.send_deadline_s, self.write(KEEP_ALIVE), self._abort)
        return self._limits.keep_alive_s
