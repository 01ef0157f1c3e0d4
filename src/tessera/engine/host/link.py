"""One connection to the engine's process, from the side of whoever asks it for something."""

import asyncio
from collections.abc import Callable
from typing import cast

from tessera.engine.host.frames import FROM_WORKER, FrameError, FrameReader, FromWorker


class Link(asyncio.Protocol):
    """Frames out by `send`, frames in to `receive`; `lost` is done when it is over, for whatever reason."""

    def __init__(self, receive: Callable[[FromWorker], None]) -> None:
        """To be made in the event loop that it will be used in."""
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._receive = receive
        self._reader = FrameReader(FROM_WORKER)
        self._transport: asyncio.WriteTransport | None = None

    async def open(self, path: str) -> None:
        """Connect, once; raises `OSError`. A worker that still loads greets later."""
        await asyncio.get_running_loop().create_unix_connection(lambda: self, path)

    def send(self, frame: bytes) -> None:
        """Never waits. What is sent after the end is lost."""
        if self._transport and not self._transport.is_closing():
            self._transport.write(frame)

    def cut(self) -> None:
        """End it now."""
        if self._transport:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast(asyncio.WriteTransport, transport)

    # asyncio passes it by position, whatever its name.
    def data_received(self, received: bytes) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """See `asyncio.Protocol`."""
        try:
            frames = self._reader.feed(received)
        except FrameError:
            self.cut()
            return
        for frame in frames:
            self._receive(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        if not self.lost.done():
            self.lost.set_result(None)
