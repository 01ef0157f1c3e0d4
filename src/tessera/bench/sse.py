"""From the bytes of a response, however they were cut, to its events. No I/O and no clock."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """The status of a response and whether its body comes in chunks."""

    status: int
    chunked: bool


class ResponseReader:
    """Reads the head of one response, then its body without the framing of chunks. Raises `ValueError`."""

    def __init__(self) -> None:
        self.head: ResponseHead | None = None
        self._held = bytearray()
        self._left = 0  # of the current chunk, with the line break that ends it
        self._ended = False

    def feed(self, block: bytes) -> bytes:
        """Return the further bytes of the body."""
        self._held += block
        if self.head is None:
            head, found, rest = self._held.partition(b"\r\n\r\n")
            if not found:
                return b""
            self.head = _head(bytes(head))
            self._held = rest
        if self.head.chunked:
            return self._unchunked()
        body = bytes(self._held)
        self._held.clear()
        return body

    def _unchunked(self) -> bytes:
        parts: list[bytes] = []
        while not self._ended and self._held:
            if not self._left:
                size, found, _ = self._held.partition(b"\r\n")
                if not found:
                    break
                del self._held[: len(size) + 2]
                n_bytes = int(size.split(b";")[0], 16)
                self._ended = n_bytes == 0
                self._left = n_bytes + 2
            part = bytes(self._held[: self._left])
            del self._held[: len(part)]
            parts.append(part[: max(self._left - 2, 0)])
            self._left -= len(part)
        return b"".join(parts)


class EventReader:
    """Reads events from a body: the joined `data` lines of each. It skips comments and other fields."""

    def __init__(self) -> None:
        self._held = b""
        self._lines: list[bytes] = []

    def feed(self, body: bytes) -> list[bytes]:
        """Return the events that have become complete."""
        *lines, self._held = (self._held + body).split(b"\n")
        events: list[bytes] = []
        for line in lines:
            line = line.removesuffix(b"\r")
            if line.startswith(b"data:"):
                self._lines.append(line[5:].removeprefix(b" "))
            elif not line and self._lines:
                events.append(b"\n".join(self._lines))
                self._lines = []
        return events


def _head(head: bytes) -> ResponseHead:
    first, *fields = head.split(b"\r\n")
    words = first.split(b" ", 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        raise ValueError(f"no HTTP response: {first[:80]!r}")
    named = [field.lower().partition(b":") for field in fields]
    return ResponseHead(
        int(words[1]), any(name == b"transfer-encoding" and b"chunked" in value for name, _, value in named)
    )
