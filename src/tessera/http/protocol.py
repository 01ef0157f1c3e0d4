"""uvicorn's HTTP protocol with what it lacks against clients that mean no good, or are no more.

A request's head is capped and has a deadline, and so has the silence of a fresh connection. The kernel looks
for the client's machine: one that vanished without a word is gone after half a minute. A response can cut its
connection (`scope["state"]["abort"]`): closing one would wait for ever on a client that does not read. And it
can write a part of its body at once (`scope["state"]["write"]`).

A wish for another protocol (`Upgrade`) is ignored, and HTTP/1.0 gets what it can read.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn._types import ASGISendEvent
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from tessera.errors import RequestError
from tessera.http.middleware import new_request_id
from tessera.wire.reply import encode_error

MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 128
HEAD_DEADLINE_S = 15.0

VANISHED_S = 30
"""A client that acknowledges nothing for so long, neither data nor a probe, is gone."""

MAX_UNSENT_BYTES = 64 * 1024
"""What the kernel takes of a reply that its client does not read; left to itself it takes megabytes."""

_NO_HTTP = "Invalid HTTP request received."

_OPTIONS = (
    (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
    (socket.IPPROTO_TCP, "TCP_KEEPIDLE", VANISHED_S // 3),
    (socket.IPPROTO_TCP, "TCP_KEEPINTVL", VANISHED_S // 6),
    (socket.IPPROTO_TCP, "TCP_KEEPCNT", 4),
    (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", VANISHED_S * 1000),
    (socket.IPPROTO_TCP, "TCP_NOTSENT_LOWAT", MAX_UNSENT_BYTES),
)
"""Options of a connection's socket; not every system has all of them."""


class GuardedProtocol(HttpToolsProtocol):
    """For `uvicorn.Config(http=…)`."""

    head_deadline_s = HEAD_DEADLINE_S

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._in_head, self._head_bytes = False, 0
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """A fresh connection has to say something."""
        super().connection_made(transport)
        _set_options(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more is expected."""
        self._head_arrived()
        super().connection_lost(exc)

    # asyncio calls it by position; its own name for the argument says nothing.
    def data_received(self, received: bytes) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Count what arrives until the head is whole."""
        if self._idle() and self._deadline is None:
            self._expect_head()
        head = self.headers if self._in_head else None
        self._unset_keepalive_if_required()
        try:
            unread = self._feed(received)
            while unread is not None:
                self._decline_upgrade()
                unread = self._feed(unread)
        except HttpParserError:
            self.logger.warning(_NO_HTTP)
            self.send_400_response(_NO_HTTP)
        if self._in_head and self.headers is head:
            self._head_bytes += len(received)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response("The head of the request is too large.")

    def on_message_begin(self) -> None:
        """Let the application cut the connection."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self.scope.setdefault("state", {})["abort"] = self.transport.abort

    def on_headers_complete(self) -> None:
        """The head is whole; raising makes the parser refuse it with 400."""
        self._head_arrived()
        self._in_head = False
        n_bytes = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if n_bytes > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
            raise ValueError("head too large")
        super().on_headers_complete()
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise ValueError("no tunnels")
            return
        self.scope.setdefault("state", {})["write"] = chunk_writer(self.cycle)
        if self.scope["http_version"] < "1.1":
            write_unchunked(self.cycle)

    def send_400_response(self, msg: str) -> None:
        """What cannot be read as HTTP gets our envelope too, and the connection ends."""
        refusal = RequestError(f"{msg} Nothing more is read on this connection.", code="invalid_http")
        body = encode_error(refusal)
        head = (
            f"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
            f"x-should-retry: false\r\nx-request-id: {new_request_id()}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _should_upgrade(self) -> bool:
        # To uvicorn: begin nothing, this head will come again.
        return True

    def _feed(self, received: bytes | memoryview) -> memoryview | None:
        """Read; returns what follows a head that asks for another protocol, if there is one."""
        try:
            self.parser.feed_data(received)
        except HttpParserUpgrade as upgrade:
            return memoryview(received)[upgrade.args[0] :]
        return None

    def _decline_upgrade(self) -> None:
        """Read the head again without its wish for another protocol, which may be ignored (RFC 9110, 7.8).

        The parser that has seen the wish takes the body for that other protocol, and is of no more use.
        """
        first = self.parser.get_method(), self.url, self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % first]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
        self.parser.feed_data(b"\r\n".join([*lines, b"", b""]))

    def _idle(self) -> bool:
        # uvicorn declares no Optional here and starts with None.
        return not self.cycle or self.cycle.response_complete

    def _expect_head(self) -> None:
        self._deadline = self.loop.call_later(self.head_deadline_s, self.transport.abort)

    def _head_arrived(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _set_options(transport: asyncio.Transport) -> None:
    connection = transport.get_extra_info("socket")
    if connection.family in (socket.AF_INET, socket.AF_INET6):
        for level, name, value in _OPTIONS:
            if (option := getattr(socket, name, None)) is not None:
                connection.setsockopt(level, option, value)


def chunk_writer(cycle: RequestResponseCycle) -> Callable[[bytes], bool]:
    """Writes more of a chunked body, or returns False: then it has to go through `send`, which can wait.

    A token is one small write. On its way through `send` and every middleware it would cost more than all
    that made it.
    """
    flow, write = cycle.flow, cycle.transport.write

    def write_chunk(part: bytes) -> bool:
        # Chunked encoding is chosen when the head of the response is written.
        if flow.write_paused or cycle.disconnected or not cycle.chunked_encoding or cycle.response_complete:
            return False
        write(b"%x\r\n%b\r\n" % (len(part), part))
        return True

    return write_chunk


def write_unchunked(cycle: RequestResponseCycle) -> None:
    """For HTTP/1.0, which knows neither chunks nor 100: where its connection ends, so does a body whose
    length was not told ahead.
    """
    send = cycle.send

    async def send_plain(message: ASGISendEvent) -> None:
        # uvicorn takes it for what is left of a declared length, and wants nothing left in the end.
        cycle.expected_content_length = len(message.get("body", b""))
        await send(message)

    cycle.chunked_encoding = cycle.keep_alive = cycle.waiting_for_100_continue = False
    cycle.send = send_plain
