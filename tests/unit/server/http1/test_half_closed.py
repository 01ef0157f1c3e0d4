import asyncio
import re

import pytest

from tessera.server.http1.half_closed import PROBES_S, send_ahead

HEADS = (b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n")


class Written(asyncio.Transport):
    """A transport that records what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.parts.append(bytes(data))


class Reply:
    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.response_started = self.response_complete = False
        self.chunked_encoding: bool | None = None


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("n_probes", range(len(PROBES_S) + 4))
def test_what_is_sent_ahead_is_the_beginning_of_whatever_follows(n_probes: int, head: bytes) -> None:
    written = Written()
    reply = Reply(written)
    for _ in range(n_probes):
        send_ahead(reply)
    assert len(b"".join(written.parts)) == min(n_probes, len(b"HTTP/1.1 "))
    reply.transport.write(head)
    reply.transport.write(head)
    assert b"".join(written.parts) == head + head


def test_probes_between_chunks_leave_their_sizes_as_they_are() -> None:
    written = Written()
    reply = Reply(written)
    reply.response_started = reply.chunked_encoding = True
    for part in (b"5\r\nhello\r\n", b"a\r\n0123456789\r\n", b"0\r\n\r\n"):
        for _ in PROBES_S:
            send_ahead(reply)
        reply.transport.write(part)
    reply.response_complete = True
    send_ahead(reply)
    said = b"".join(written.parts)
    sizes = re.findall(rb"(?:^|\r\n)([0-9a-f]+)\r\n", said)
    assert [int(size, 16) for size in sizes] == [5, 10, 0]
    assert all(len(size) <= 16 for size in sizes)  # some clients take no more digits


def test_of_a_body_with_a_length_nothing_is_known() -> None:
    written = Written()
    reply = Reply(written)
    reply.response_started, reply.chunked_encoding = True, False
    send_ahead(reply)
    assert written.parts == []
