"""The messages between the service and an engine's process.

Each message is a frame (`processes.frames`) of msgpack. The worker greets every connection with `Hello`; the
client sends `Submit` and `Abort`; after a step the worker sends each connection one `Step` with everything
that concerns it. The worker also answers a `Ping` with a `Step`, which may be empty: so its owner sees that
steps are made. Request ids belong to their connection.
"""

from typing import Generic, TypeAlias, TypeVar

import msgspec
from msgspec.msgpack import Decoder

from tessera.core.generation import EngineInfo, Prompt, Sampling, TokenChunk
from tessera.observe.logs import Form, Level
from tessera.processes.frames import MAX_FRAME_BYTES, FrameError, FrameSplitter, frame

Gauges: TypeAlias = dict[str, int]
"""How full the engine is, and what it has done since it began, by name."""


class Start(msgspec.Struct, frozen=True, tag=True):
    """The first and only frame on the worker's standard input: which core to make, and of what.

    `factory` names a `CoreFactory`, as in `package.module:function`. It is called with `served`, which the
    service expects the core to serve, and with `options`, which only the factory understands. The worker logs
    as the process that started it does.
    """

    factory: str
    served: EngineInfo
    options: dict[str, object]
    log_level: Level = "info"
    log_format: Form = "auto"


class Hello(msgspec.Struct, frozen=True, tag=True):
    """The engine is ready."""

    served: EngineInfo
    gauges: Gauges


class Submit(msgspec.Struct, frozen=True, tag=True):
    """Begins a generation under a new id."""

    id: int
    prompt: Prompt
    sampling: Sampling


class Abort(msgspec.Struct, frozen=True, tag=True):
    """Ends a generation; one that has ended already, or never was, is no error."""

    id: int


class Ping(msgspec.Struct, frozen=True, tag=True):
    """Asks for a `Step` after the next step of the engine."""


class Failed(msgspec.Struct, frozen=True):
    """A generation that ended with an error; `code` is the code of the error."""

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


def pack(message: Frame) -> bytes:
    """The bytes of a message; raises `FrameError` if there are too many."""
    payload = msgspec.msgpack.encode(message)
    if len(payload) > MAX_FRAME_BYTES:
        raise FrameError(f"A frame of {len(payload)} bytes is over the cap of {MAX_FRAME_BYTES}.")
    return frame(payload)


class FrameReader(Generic[FrameType]):
    """Cuts what arrives into messages of the expected type."""

    def __init__(self, decoder: Decoder[FrameType]) -> None:
        """`decoder` is FROM_CLIENT or FROM_WORKER."""
        self._decoder = decoder
        self._splitter = FrameSplitter()

    def feed(self, received: bytes) -> list[FrameType]:
        """The messages that are whole now; raises `FrameError`."""
        try:
            return [self._decoder.decode(payload) for payload in self._splitter.feed(received)]
        except msgspec.MsgspecError as error:
            raise FrameError(f"A frame cannot be read: {error}") from error
