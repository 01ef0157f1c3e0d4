"""What the service and the engine's process say to each other.

Each message is a frame: four bytes of length, big-endian, and that much msgpack. The worker greets every
connection with `Hello`; the client sends `Submit` and `Abort`; after a step the worker sends each connection
one `Step` with all that concerns it. It also answers a `Ping` with a `Step`, be it empty: whoever asks knows
that steps are made. Request ids belong to their connection.
"""

from typing import Generic, TypeAlias, TypeVar

import msgspec
from msgspec.msgpack import Decoder

from tessera.core.generation import EngineInfo, Prompt, Sampling, TokenChunk
from tessera.engine.openvino.config import WorkerConfig

MAX_FRAME_BYTES = 32 * 2**20
_LENGTH_BYTES = 4

Gauges: TypeAlias = dict[str, int]
"""How full the engine is, and what it has done since it began, by name."""


class FrameError(ValueError):
    """The other side does not speak this protocol; the connection is of no more use."""


class Start(msgspec.Struct, frozen=True, tag=True):
    """The first and only frame on the worker's standard input."""

    config: WorkerConfig


class Hello(msgspec.Struct, frozen=True, tag=True):
    """The engine is ready."""

    served: EngineInfo
    gauges: Gauges


class Submit(msgspec.Struct, frozen=True, tag=True):
    """Begin a generation under a new id."""

    id: int
    prompt: Prompt
    sampling: Sampling


class Abort(msgspec.Struct, frozen=True, tag=True):
    """End a generation; one that has ended already, or never was, is no error."""

    id: int


class Ping(msgspec.Struct, frozen=True, tag=True):
    """Say something, between two steps."""


class Failed(msgspec.Struct, frozen=True):
    """A generation that ended with an error; `code` is that of the error's class."""

    id: int
    code: str
    message: str


class Step(msgspec.Struct, frozen=True, tag=True):
    """What is new since the last one: chunks, by request id, and failed generations."""

    chunks: list[tuple[int, TokenChunk]]
    failures: list[Failed]
    gauges: Gauges


Frame: TypeAlias = Start | Hello | Submit | Abort | Ping | Step
FrameType = TypeVar("FrameType", bound=Frame)

START: Decoder[Start] = Decoder(Start)
FromClient: TypeAlias = Submit | Abort | Ping
FromWorker: TypeAlias = Hello | Step

FROM_CLIENT: Decoder[FromClient] = Decoder(FromClient)
FROM_WORKER: Decoder[FromWorker] = Decoder(FromWorker)


def pack(frame: Frame) -> bytes:
    """The bytes of a frame; raises `FrameError` if there are too many."""
    payload = msgspec.msgpack.encode(frame)
    if len(payload) > MAX_FRAME_BYTES:
        raise FrameError(f"A frame of {len(payload)} bytes is over the cap of {MAX_FRAME_BYTES}.")
    return len(payload).to_bytes(_LENGTH_BYTES, "big") + payload


class FrameReader(Generic[FrameType]):
    """Cuts what arrives into frames of the expected type."""

    def __init__(self, decoder: Decoder[FrameType]) -> None:
        """`decoder` is START, FROM_CLIENT or FROM_WORKER."""
        self._decoder = decoder
        self._buffer = bytearray()

    def feed(self, received: bytes) -> list[FrameType]:
        """The frames that are whole now; raises `FrameError`."""
        buffer = self._buffer
        buffer += received
        frames: list[FrameType] = []
        start = 0
        while len(buffer) - start >= _LENGTH_BYTES:
            end = start + _LENGTH_BYTES
            n_bytes = int.from_bytes(buffer[start:end], "big")
            if n_bytes > MAX_FRAME_BYTES:
                raise FrameError(f"A frame of {n_bytes} bytes is over the cap of {MAX_FRAME_BYTES}.")
            if len(buffer) - end < n_bytes:
                break
            start = end + n_bytes
            try:
                frames.append(self._decoder.decode(buffer[end:start]))
            except msgspec.MsgspecError as error:
                raise FrameError(f"A frame cannot be read: {error}") from error
        del buffer[:start]
        return frames
