"""What uvicorn's request-response cycle lacks: a quick way to write, bodies for HTTP/1.0, and a refusal of
what cannot be read.
"""

import logging
from collections.abc import Callable

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from tessera.errors import RequestError
from tessera.http.context import client_address
from tessera.http.middleware import new_request_id
from tessera.observe.logs import log_repeating
from tessera.wire.reply import encode_error

_logger = logging.getLogger(__name__)


def chunk_writer(cycle: RequestResponseCycle) -> Callable[[bytes], bool]:
    """Writes more of a chunked body, or returns False: then it has to go through `send`, which can wait.

    A token is one small write. Passing it through `send` and every middleware would cost more than producing
    it.
    """
    flow = cycle.flow
    write = cycle.transport.write

    def write_chunk(part: bytes) -> bool:
        # Chunked encoding is chosen when the head of the response is written.
        if flow.write_paused or cycle.disconnected or not cycle.chunked_encoding or cycle.response_complete:
            return False
        write(b"%x\r\n%b\r\n" % (len(part), part))
        return True

    return write_chunk


def write_unchunked(cycle: RequestResponseCycle) -> None:
    """For HTTP/1.0, which has neither chunks nor the status 100: a body without a declared length ends with
    the connection.
    """
    send = cycle.send

    async def send_plain(message: ASGISendEvent) -> None:
        # uvicorn takes it for what is left of a declared length, and wants nothing left in the end.
        cycle.expected_content_length = len(message.get("body", b""))
        await send(message)

    cycle.chunked_encoding = False
    cycle.keep_alive = False
    cycle.waiting_for_100_continue = False
    cycle.send = send_plain


def refusal(why: str, client: tuple[str, int] | None) -> bytes:
    """The last response on a connection, of which nothing more can be read. `why` is logged."""
    id = new_request_id()
    address = client_address({"client": client})
    log_repeating(_logger, "warning", "invalid HTTP", why, trace_id=id, reason=why, client=address)
    error = RequestError(f"{why} Nothing more is read on this connection.", code="invalid_http")
    body = encode_error(error)
    head = (
        f"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        f"x-should-retry: false\r\nx-request-id: {id}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body
