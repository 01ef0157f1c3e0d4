"""How messages are cut out of a stream of bytes, between this service's processes.

A frame is four bytes of length, big-endian, and that many bytes of payload.
"""

from asyncio import StreamReader
from collections.abc import Callable

LENGTH_BYTES = 4
MAX_FRAME_BYTES = 32 * 2**20
"""The largest frame that a `FrameSplitter` accepts, so that a peer cannot make it buffer without end."""


class FrameError(ValueError):
    """The other side does not speak this protocol; the connection is of no more use."""


def frame(payload: bytes) -> bytes:
    """The payload, behind its length."""
    return len(payload).to_bytes(LENGTH_BYTES, "big") + payload


def read_frame(read: Callable[[int], bytes | None]) -> bytes | None:
    """Reads the next payload, and not a byte more: what follows may belong to another reader.

    `read` blocks, and may return less than it was asked for. Returns None if the stream ends before the frame
    does.
    """
    length = _read_exactly(read, LENGTH_BYTES)
    return None if length is None else _read_exactly(read, int.from_bytes(length, "big"))


async def receive_frame(stream: StreamReader) -> bytes:
    """The payload of the next frame; raises `asyncio.IncompleteReadError` if the stream ends before it."""
    length = int.from_bytes(await stream.readexactly(LENGTH_BYTES), "big")
    return await stream.readexactly(length)


class FrameSplitter:
    """Cuts what arrives, in pieces of any size, into payloads."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, received: bytes) -> list[bytes]:
        """The payloads that are whole now; raises `FrameError` for one over MAX_FRAME_BYTES."""
        buffer = self._buffer
        buffer += received
        payloads: list[bytes] = []
        start = 0
        while len(buffer) - start >= LENGTH_BYTES:
            end = start + LENGTH_BYTES
            n_bytes = int.from_bytes(buffer[start:end], "big")
            if n_bytes > MAX_FRAME_BYTES:
                raise FrameError(f"A frame of {n_bytes} bytes is over the cap of {MAX_FRAME_BYTES}.")
            if len(buffer) - end < n_bytes:
                break
            start = end + n_bytes
            payloads.append(bytes(buffer[end:start]))
        del buffer[:start]
        return payloads


def _read_exactly(read: Callable[[int], bytes | None], n_bytes: int) -> bytes | None:
    received = b""
    while len(received) < n_bytes:
        more = read(n_bytes - len(received))
        if not more:
            return None
        received += more
    return received
