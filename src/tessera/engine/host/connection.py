"""A client of an engine's process, as the worker sees it."""

import socket
from dataclasses import dataclass, field

from tessera.core.generation import TokenChunk
from tessera.engine.host.frames import FROM_CLIENT, Failed, FrameReader, FromClient, Gauges
from tessera.processes.frames import FrameError

MAX_UNSENT_BYTES = 16 * 2**20
_RECEIVE_BYTES = 2**18


@dataclass(slots=True, eq=False)
class ClientConnection:
    """A client on a socket that does not block.

    `core_ids` are the core's ids of its generations, by the client's ids. `chunks` and `failures` are still
    to be sent; `gauges` were sent last; `pinged` says that the client waits for the answer to a `Ping`.
    """

    socket: socket.socket
    gauges: Gauges
    core_ids: dict[int, int] = field(default_factory=dict[int, int])
    chunks: list[tuple[int, TokenChunk]] = field(default_factory=list[tuple[int, TokenChunk]])
    failures: list[Failed] = field(default_factory=list[Failed])
    pinged: bool = False
    unsent: bytearray = field(default_factory=bytearray)
    _reader: FrameReader[FromClient] = field(default_factory=lambda: FrameReader(FROM_CLIENT))

    def receive(self) -> list[FromClient] | None:
        """The messages that are whole now; None if the client is gone, or does not speak the protocol."""
        try:
            received = self.socket.recv(_RECEIVE_BYTES)
            return self._reader.feed(received) if received else None
        except BlockingIOError:
            return []
        except (OSError, FrameError):
            return None

    def send(self, frame: bytes) -> bool:
        """Sends what the socket takes now, keeps the rest; False if the client is gone or does not read."""
        self.unsent += frame
        try:
            while self.unsent:
                del self.unsent[: self.socket.send(self.unsent)]
        except BlockingIOError:
            pass
        except OSError:
            return False
        return len(self.unsent) <= MAX_UNSENT_BYTES

    def clear(self, gauges: Gauges) -> None:
        """Notes that everything was sent, with these gauges."""
        self.chunks = []
        self.failures = []
        self.gauges = gauges
        self.pinged = False
