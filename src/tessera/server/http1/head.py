"""The head of a request: up to the first empty line, and not a byte further.

llhttp reads it, but it is this module that looks for its end, so that llhttp never sees what follows:
neither trailers nor the next request, which has to wait until this one is answered.
"""

import re
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser, parse_url

from tessera.server.http1.framing import (
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    MAX_TARGET_PARTS,
    BodyReader,
    ChunkedBody,
    InvalidHttp,
    SizedBody,
)

SINGLE: Final = frozenset(
    {
        b"authorization",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"expect",
        b"host",
        b"origin",
        b"transfer-encoding",
    }
)
"""Fields of which a second one would leave open which of the two counts."""

_NO_HTTP = "Invalid HTTP request received."
_TOO_LARGE = "The head of the request is too large."
_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"[0-9]{1,18}")
_HOST = re.compile(rb"(\[[0-9A-Za-z:.%~_-]+\]|[0-9A-Za-z%._~!$&'()*+,;=-]*)(:[0-9]*)?")
"""A name or an address, and a port (RFC 3986, 3.2.2); an empty one says that the target has none."""
_TARGET = re.compile(rb"/|https?://", re.IGNORECASE)


class RequestHead:
    """The head of one request as it arrives. uvicorn takes it for its parser."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self._parser = HttpRequestParser(self)
        self._complete = False
        self._keep_alive = False
        self._n_bytes = 0
        self._last = b""

    def feed(self, unread: bytearray) -> bool:
        """Takes the head's bytes from the front of `unread`; returns whether the head is complete."""
        if not unread:
            return False
        if not self._last:
            self._skip_empty_lines(unread)
        n_left = self._bytes_left(unread)
        part = bytes(unread[: n_left or MAX_HEAD_BYTES + 1])
        self._n_bytes += len(part)
        if self._n_bytes > MAX_HEAD_BYTES:
            raise InvalidHttp(_TOO_LARGE)
        del unread[: len(part)]
        self._last = (self._last + part)[-3:]
        try:
            self._parser.feed_data(part)
        except HttpParserUpgrade:
            pass  # a wish for another protocol may be ignored (RFC 9110, 7.8)
        except HttpParserError as error:
            refusal = error.__context__
            raise refusal if isinstance(refusal, InvalidHttp) else InvalidHttp(_NO_HTTP) from None
        if self._complete != bool(n_left):
            raise InvalidHttp(_NO_HTTP)  # llhttp and we disagree about the end of the head
        return self._complete

    def body(self) -> BodyReader:
        """Reads what follows the head. Raises `InvalidHttp` for a head that is not to be answered."""
        self._check()
        fields = dict(self.headers)
        coding = fields.get(b"transfer-encoding")
        length = fields.get(b"content-length")
        if coding is None:
            if length is not None and not _LENGTH.fullmatch(length.strip()):
                raise InvalidHttp("Content-Length is not a number of bytes.")
            return SizedBody(int(length or b"0"))
        if coding.strip().lower() != b"chunked" or self.get_http_version() != "1.1":
            raise InvalidHttp("The only supported Transfer-Encoding is chunked, in HTTP/1.1.")
        if length is not None:
            raise InvalidHttp("A request has either Content-Length or Transfer-Encoding.")
        return ChunkedBody()

    def get_method(self) -> bytes:
        return self._parser.get_method()

    def get_http_version(self) -> str:
        """Such as `1.1`; `0.9` also if the request line names none."""
        return self._parser.get_http_version()

    def should_keep_alive(self) -> bool:
        """Whether the client lets the connection be used again."""
        return self._keep_alive

    def should_upgrade(self) -> bool:
        return False

    def on_message_begin(self) -> None:
        """Refuses a second request: llhttp saw an end of the head where `feed` saw none."""
        if self._complete:
            raise InvalidHttp(_NO_HTTP)

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= MAX_HEADERS:
            raise InvalidHttp(_TOO_LARGE)
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        # llhttp forgets it as soon as a request without a body has been read.
        self._keep_alive = self._parser.should_keep_alive()
        self._complete = True

    def _skip_empty_lines(self, unread: bytearray) -> None:
        # As llhttp does; some old clients send one after a body.
        n_bytes = len(unread) - len(unread.lstrip(b"\r\n")) if unread[0] in b"\r\n" else 0
        self._n_bytes += n_bytes
        del unread[:n_bytes]

    def _bytes_left(self, unread: bytearray) -> int:
        """How many bytes of the head are still to come, or 0 if its end is not there yet."""
        straddling = (self._last + unread[:3]).find(_END)
        if straddling >= 0:
            return straddling + len(_END) - len(self._last)
        at = unread.find(_END, 0, MAX_HEAD_BYTES)
        return at + len(_END) if at >= 0 else 0

    def _check(self) -> None:
        if self.get_http_version() > "1.1":
            raise InvalidHttp("Send the request in HTTP/1.1.")
        names = [name for name, _ in self.headers]
        for name in SINGLE:
            if names.count(name) > 1:
                raise InvalidHttp(f"{name.decode().title()} occurs more than once.")
        self._check_host()
        if self.url.count(b"%") + self.url.count(b"&") > MAX_TARGET_PARTS:
            raise InvalidHttp("The target of the request has too many escapes or parameters.")
        try:
            path = parse_url(self.url).path
        except HttpParserError:
            raise InvalidHttp(_NO_HTTP) from None
        everything = (self.get_method(), self.url) == (b"OPTIONS", b"*")
        if self.get_method() == b"CONNECT" or not (everything or (path and _TARGET.match(self.url))):
            raise InvalidHttp("The target of the request is not a path.")

    def _check_host(self) -> None:
        """Whom a request is for must be known in HTTP/1.1 (RFC 9112, 3.2)."""
        host = dict(self.headers).get(b"host")
        if host is None and self.get_http_version() == "1.1":
            raise InvalidHttp("Host is missing.")
        if host is not None and not _HOST.fullmatch(host.strip()):
            raise InvalidHttp("Host is not the name of a host.")
