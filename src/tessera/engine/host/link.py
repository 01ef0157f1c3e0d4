"""A connection to an engine's process, as its clients and its owner see it."""

import asyncio
from collections.abc import Callable
from typing import cast

from tessera.engine.host.frames import FROM_WORKER, FrameReader, FromWorker
from tessera.processes.frames import FrameError


class Link(asyncio.Protocol):
    """Sends frames, and calls `receive` with the messages that arrive; `lost` is done when the connection has
    ended, for whatever reason. It belongs to the event loop that it is made in.
    """

    def __init__(self, receive: Callable[[FromWorker], None]) -> None:
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._receive = receive
        self._reader = FrameReader(FROM_WORKER)
        self._transport: asyncio.WriteTransport | None = None

    async def open(self, path: str) -> None:
        """Connects, once; raises `OSError`. A worker that is still loading greets later."""
        await asyncio.get_running_loop().create_unix_connection(lambda: self, path)

    def send(self, frame: bytes) -> None:
        """Never waits. A frame that is sent after the end is lost."""
        if self._transport and not self._transport.is_closing():
            self._transport.write(frame)

    def cut(self) -> None:
        """Ends the connection now."""
        if self._transport:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    # asyncio passes it by position, whatever its name.
    def data_received(self, received: bytes) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        try:
            frames = self._reader.feed(received)
        except FrameError:
            self.cut()
            return
        for frame in frames:
            self._receive(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)
