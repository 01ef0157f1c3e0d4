"""uvicorn's HTTP protocol, with what it lacks against hostile clients and clients that have vanished.

One request is read at a time. What is sent behind a request that is being answered waits unread, up to a
cap; it neither hides that the client leaves nor spoils the reply. A head is capped and has a deadline, and
so has a new connection that sends nothing. The kernel probes the client's machine: if that has vanished, the
connection ends after half a minute. `half_closed` looks for a client that has closed its side.

A response can cut its connection, and write a part of its body at once (`RequestContext`).

A request for another protocol (`Upgrade`) is ignored. A client of HTTP/1.0 gets what it can read.
"""

import asyncio
from typing import Any, cast

from starlette.types import Scope
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from tessera.http.context import context_of
from tessera.server.http1.closing import LINGER_S, GentlyClosing
from tessera.server.http1.connection_limit import make_room, most_connections
from tessera.server.http1.cycles import chunk_writer, refusal, write_unchunked
from tessera.server.http1.framing import BodyReader, InvalidHttp
from tessera.server.http1.half_closed import ClientProbes, ReplyCycle
from tessera.server.http1.head import RequestHead
from tessera.server.http1.options import set_options
from tessera.server.http1.timer import Timer
from tessera.server.http1.unread import UnreadDeadline

MAX_BEHIND_BYTES = 64 * 1024
"""What is kept of requests that are sent before the one ahead of them is answered."""

BEHIND_S = 1.0
"""If more than that was sent behind a request, it has so long to be answered. Then the rest of what is sent
is discarded: unread, it would hide the end of the connection.
"""


class GuardedProtocol(HttpToolsProtocol):
    """For `uvicorn.Config(http=…)`. uvicorn's own parser and its queue of requests are not used."""

    head_deadline_s = 15.0
    send_deadline_s = 30.0
    max_connections = most_connections()
    linger_s = LINGER_S

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._since_s = self.loop.time()
        self._unread = bytearray()
        self._head = RequestHead()
        self._body: BodyReader | None = None
        self._is_discarding = False
        self._client_ended = False
        self._is_shutting_down = False
        self._lingering = Timer()
        self._deadline = Timer()
        self._behind = Timer()
        self._probes = ClientProbes(self._unanswered)
        self._unread_deadline = UnreadDeadline(self.send_deadline_s)

    @property
    def waits_since_s(self) -> float | None:  # see `OpenConnection`
        is_served = self._body is None and not self._is_idle() and not self.flow.write_paused
        return None if is_served else self._since_s

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Gives a new connection a deadline for its first head."""
        super().connection_made(transport)
        set_options(transport)
        make_room(self.connections, self, self.max_connections)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._deadline, self._behind, self._lingering, self._probes, self._unread_deadline):
            timer.cancel()
        self._unread.clear()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._since_s = self.loop.time()
        self._unread_deadline.set(self.transport)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unread_deadline.cancel()

    # asyncio calls it by position; its own name for the argument says nothing.
    def data_received(self, received: bytes) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Reads up to the end of the request that is to be answered now."""
        if self._is_discarding:
            return
        if self._is_idle():
            self._expect_head()
        self._unset_keepalive_if_required()
        self._unread += received
        self._read()

    def eof_received(self) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Returns whether the connection stays open, which it does while a complete request is answered."""
        if self._is_idle() or self._body is not None or self._lingering.is_set:
            return False
        if not self._client_ended:
            self._client_ended = True
            self._probes.start()
        return True

    def on_response_complete(self) -> None:
        """Reads what was sent meanwhile."""
        self._behind.cancel()
        super().on_response_complete()
        self._since_s = self.loop.time()
        if self._lingering.is_set:
            self._unset_keepalive_if_required()
        if self._lingering.is_set or self.transport.is_closing():
            return
        if self._unread:
            self._unset_keepalive_if_required()
            self._expect_head()
            self._read()
        if self._client_ended and (self._is_idle() or self._body is not None):
            self.transport.close()

    def shutdown(self) -> None:
        """From now on the connection is closed as soon as it can be."""
        self._is_shutting_down = True
        if self._lingering.is_set:
            self.transport.close()
        super().shutdown()

    def _read(self) -> None:
        try:
            while self._unread and not self.transport.is_closing() and self._read_part():
                pass
        except InvalidHttp as error:
            self._unread.clear()
            self._refuse(str(error))

    def _read_part(self) -> bool:
        """Returns whether more can be read now."""
        if self._body is not None:
            if content := self._body.feed(self._unread):
                self.on_body(content)
            if self._body.complete:
                self._body = None
                self.on_message_complete()
                return True
            return False
        if not self._is_idle():
            self._keep_behind()
            return False
        if not self._head.feed(self._unread):
            return False
        head = self._head
        self._head = RequestHead()
        self._begin(head, head.body())
        return True

    def _begin(self, head: RequestHead, body: BodyReader) -> None:
        """Starts the application on a request, by the methods that uvicorn's own parser would call."""
        self._deadline.cancel()
        self._since_s = self.loop.time()
        self.parser = head  # pyright: ignore[reportAttributeAccessIssue]
        self.on_message_begin()
        self.on_url(head.url)
        for name, value in head.headers:
            if name != b"upgrade":
                self.on_header(name, value)
        self.on_headers_complete()
        context = context_of(cast("Scope", self.scope))
        context.abort = self.transport.abort
        context.write_now = chunk_writer(self.cycle)
        if self.scope["http_version"] < "1.1":
            write_unchunked(self.cycle)
        if body.complete:
            self.on_message_complete()
        else:
            self._body = body
            self.cycle.transport = GentlyClosing(self.transport, self._close_when_read)

    def _refuse(self, why: str) -> None:
        last = refusal(why, self.client)
        if self._body is None or not self.cycle.response_started:
            self.transport.write(last)
        # Else a second response would be taken for that to the next request.
        self.transport.close()
        if self._body is not None:
            # The application has nobody to answer any more.
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _close_when_read(self) -> None:
        if self._body is None:
            self.transport.close()
        else:
            self._close_gently()

    def _close_gently(self) -> None:
        """Closes our side, and the whole connection when the client does the same or `linger_s` are over."""
        if self._client_ended or self._is_shutting_down:
            self.transport.close()
        elif not self._lingering.is_set and not self.transport.is_closing():
            self._lingering.set(self.linger_s, self.transport.abort)
            self._is_discarding = True
            self._unread.clear()
            self._deadline.cancel()
            self.transport.write_eof()
            self.flow.resume_reading()
            self._since_s = self.loop.time()

    def _keep_behind(self) -> None:
        if len(self._unread) > MAX_BEHIND_BYTES:
            self.flow.pause_reading()
            self._behind.set(BEHIND_S, self._discard_behind)

    def _discard_behind(self) -> None:
        self._unread.clear()
        self._is_discarding = True
        self.cycle.keep_alive = False
        self.cycle.transport = GentlyClosing(self.cycle.transport, self._close_gently)
        self.flow.resume_reading()

    def _should_upgrade(self) -> bool:
        return False

    def _is_idle(self) -> bool:
        # uvicorn declares no Optional here and starts with None.
        return not self.cycle or self.cycle.response_complete

    def _unanswered(self) -> ReplyCycle | None:
        return None if self._is_idle() or self.transport.is_closing() else self.cycle

    def _expect_head(self) -> None:
        self._deadline.set(self.head_deadline_s, self.transport.abort)
