"""A client of the engine's process, seen from inside: what it says, and what is still to be said to it."""

import socket
from dataclasses import dataclass, field

from tessera.core.generation import TokenChunk
from tessera.engine.host.frames import FROM_CLIENT, Failed, FrameError, FrameReader, FromClient, Gauges

MAX_UNSENT_BYTES = 16 * 2**20
_RECEIVE_BYTES = 2**18


@dataclass(slots=True, eq=False)
class Connection:
    """On a socket that does not block. `core_ids` are those of its generations, by its own ids; `chunks` and
    `failures` were not told yet, `gauges` were told last; `asked` is whether it waits for an answer.
    """

    socket: socket.socket
    gauges: Gauges
    core_ids: dict[int, int] = field(default_factory=dict[int, int])
    chunks: list[tuple[int, TokenChunk]] = field(default_factory=list[tuple[int, TokenChunk]])
    failures: list[Failed] = field(default_factory=list[Failed])
    asked: bool = False
    unsent: bytearray = field(default_factory=bytearray)
    _reader: FrameReader[FromClient] = field(default_factory=lambda: FrameReader(FROM_CLIENT))

    def receive(self) -> list[FromClient] | None:
        """The frames that are whole now; None when the client is gone, or talks nonsense."""
        try:
            received = self.socket.recv(_RECEIVE_BYTES)
            return self._reader.feed(received) if received else None
        except BlockingIOError:
            return []
        except (OSError, FrameError):
            return None

    def send(self, frame: bytes) -> bool:
        """Send what the socket takes now and keep the rest; False if the client is gone or does not read."""
        self.unsent += frame
        try:
            while self.unsent:
                del self.unsent[: self.socket.send(self.unsent)]
        except BlockingIOError:
            pass
        except OSError:
            return False
        return len(self.unsent) <= MAX_UNSENT_BYTES
