"""Where the body of a request ends on its connection (RFC 9112, 6 and 7). Nothing here does I/O.

A body has as many bytes as Content-Length says, or it comes in chunks, the last of them empty. Fields after
the last chunk, the trailers, are checked, counted and thrown away: taken for fields of the head they could
name another caller (RFC 9110, 6.5.1).

Bytes are taken from the front of a buffer, and those of the next request stay in it. Whatever could be read
in two ways, by this server and by a proxy in front of it, is refused.
"""

import re
from typing import TypeAlias

MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 128

MAX_TARGET_PARTS = 2 * 1024
"""%-escapes and parameters: to decode each takes a microsecond or more, before it is known who sends them."""

MAX_SMALL_CHUNKS = 4 * 1024
SMALL_CHUNK_BYTES = 64
"""A body may have `MAX_SMALL_CHUNKS` chunks, and one more for every `SMALL_CHUNK_BYTES` of data: each chunk
costs as much as some hundred bytes.
"""

_BODY_UNREADABLE = "The chunks of the body cannot be read."

_CRLF = b"\r\n"
_FIELD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*")
_PLAIN_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})\r\n")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})([\t ]*;[\t\x20-\x7e\x80-\xff]*)?")


class InvalidHttp(Exception):
    """The connection cannot be read any further; the message is for the client."""


class SizedBody:
    """A body of a declared length, which may be 0. It is `complete` when the last byte has been taken."""

    def __init__(self, n_bytes: int) -> None:
        self._n_left = n_bytes

    @property
    def complete(self) -> bool:
        return not self._n_left

    def feed(self, unread: bytearray) -> bytes:
        content = bytes(unread[: self._n_left])
        del unread[: len(content)]
        self._n_left -= len(content)
        return content


class ChunkedBody:
    """A body in chunks. Extensions and trailers together are as large as a head at most."""

    def __init__(self) -> None:
        self.complete = False
        self._n_left = 0
        self._n_data = 0
        self._n_chunks = 0
        self._n_trailers = 0
        self._n_extra = 0
        self._in_trailers = False
        self._at_end_of_chunk = False

    def feed(self, unread: bytearray) -> bytes:
        """Takes what there is of the body but for a line that has no end yet; may raise `InvalidHttp`."""
        content = bytearray()
        at = 0
        while not self.complete:
            at = self._take_whole_chunks(unread, at, content)
            if self._n_left:
                part = unread[at : at + self._n_left]
                content += part
                at += len(part)
                self._n_left -= len(part)
                self._n_data += len(part)
                if self._n_left:
                    break
            end = unread.find(_CRLF, at)
            n_line = (end if end >= 0 else len(unread)) - at
            if n_line + self._n_extra > MAX_HEAD_BYTES:
                raise InvalidHttp("The trailers or the extensions of the chunks are too large.")
            if end < 0:
                break
            self._read_line(bytes(unread[at:end]))
            at = end + len(_CRLF)
        del unread[:at]
        return bytes(content)

    def _take_whole_chunks(self, unread: bytearray, at: int, content: bytearray) -> int:
        """Takes chunks that have arrived whole and have no extension; returns where they end. This is what
        `_read_line` does too, at a fraction of the cost for each chunk.
        """
        if self._n_left or self._in_trailers or self._at_end_of_chunk:
            return at
        while (size := _PLAIN_SIZE.match(unread, at)) and (n_bytes := int(size[1], 16)):
            begin = size.end()
            end = size.end() + n_bytes
            if not unread.startswith(_CRLF, end):
                break
            self._count_chunk()
            content += unread[begin:end]
            self._n_data += n_bytes
            at = end + len(_CRLF)
        return at

    def _count_chunk(self) -> None:
        self._n_chunks += 1
        if self._n_chunks > MAX_SMALL_CHUNKS + self._n_data // SMALL_CHUNK_BYTES:
            raise InvalidHttp("The body has too many small chunks.")

    def _read_line(self, line: bytes) -> None:
        if self._in_trailers:
            self._read_trailer(line)
        elif self._at_end_of_chunk:
            if line:
                raise InvalidHttp(_BODY_UNREADABLE)
            self._at_end_of_chunk = False
        else:
            self._read_size(line)

    def _read_size(self, line: bytes) -> None:
        read = _SIZE.fullmatch(line)
        if read is None:
            raise InvalidHttp(_BODY_UNREADABLE)
        self._n_left = int(read[1], 16)
        self._n_extra += len(read[2] or b"")
        self._count_chunk()
        self._in_trailers = not self._n_left
        self._at_end_of_chunk = bool(self._n_left)

    def _read_trailer(self, line: bytes) -> None:
        self._n_trailers += 1
        self._n_extra += len(line) + len(_CRLF)
        if not line:
            self.complete = True
        elif self._n_trailers > MAX_HEADERS:
            raise InvalidHttp("There are too many trailers.")
        elif not _FIELD.fullmatch(line):
            raise InvalidHttp("A trailer cannot be read.")


BodyReader: TypeAlias = SizedBody | ChunkedBody
"""A body as it arrives: `feed` takes its bytes from the front of the buffer and returns the data in them."""
