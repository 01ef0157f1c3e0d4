"""Delivers a reply to a client that may disconnect, or that does not read.

Starlette and uvicorn notice a client's departure only when something is sent. A model may take long to its
first token, so `receive` is watched from the beginning, and a silent stream sends comments.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NoReturn, TypeAlias, TypeVar

from starlette.types import Receive, Send

from tessera.http.context import Abort, WriteNow
from tessera.http.errors import ClientGone
from tessera.http.limits import HttpLimits
from tessera.wire.stream import KEEP_ALIVE

T = TypeVar("T")

Beat: TypeAlias = Callable[[], Awaitable[float]]
"""Called beside the work; returns the seconds after which it is to be called again."""

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


async def while_present(receive: Receive, work: Coroutine[Any, Any, T], beat: Beat | None = None) -> T:
    """The result of `work`, which is cancelled when the client disconnects.

    Returns or raises only after the work has ended. Raises `ClientGone`, and what `work` or `beat` raise. The
    work has a task of its own, so that a token does not resume the coroutines of all middleware.
    """
    working, watching = asyncio.create_task(work), asyncio.create_task(_departure(receive, beat))
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        working.cancel()
        await asyncio.wait((working,))
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)
    if not working.cancelled():
        return working.result()
    watching.result()
    raise ClientGone


async def send_within(deadline_s: float, sending: Awaitable[None], abort: Abort | None) -> None:
    """Awaits `sending`. Disconnects a client that does not read for `deadline_s`, and raises `ClientGone`."""
    try:
        async with asyncio.timeout(deadline_s):
            await sending
    except TimeoutError:
        give_up(abort)


def give_up(abort: Abort | None) -> NoReturn:
    """Disconnects the client, and raises `ClientGone`."""
    if abort is not None:
        abort()
    raise ClientGone


async def _departure(receive: Receive, beat: Beat | None) -> None:
    while True:
        try:
            async with asyncio.timeout(await beat() if beat else None):
                while (await receive())["type"] != "http.disconnect":
                    pass
                return
        except TimeoutError:
            continue  # time for a beat


class EventStream:
    """One stream of server-sent events. It sends its headers with the first frames, so that what fails before
    them still has an HTTP status.

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
    ) -> None:
        """`write_now` is quicker than `send`."""
        self.started = False
        self._send = send
        self._limits = limits
        self._headers = [*HEADERS, *headers]
        self._abort = abort
        self._write_now = write_now
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
