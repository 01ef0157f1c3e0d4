"""A client that sends all it has before it reads gets its reply, though the connection ends with it."""

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import suppress

import pytest
from tests.conftest import KEY, Serve, Served
from tests.limits import http_limits
from tests.waiting import wait_for

from tessera.server.http1.protocol import GuardedProtocol

N_BYTES = 12 * 2**20
"""More than the kernel keeps of what is sent on loopback and not read."""


def head(*fields: str, key: str = KEY, path: str = "/v1/chat/completions") -> bytes:
    named = (f"POST {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {key}", *fields)
    return "\r\n".join((*named, "Content-Type: application/json", "", "")).encode()


SIZED = f"Content-Length: {N_BYTES}"
CHUNKED = "Transfer-Encoding: chunked"
BODY = b" " * N_BYTES
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (N_BYTES, BODY)
SENT = {
    "too large": (413, head(SIZED) + BODY),
    "too large, in chunks": (413, head(CHUNKED) + CHUNKS),
    "compressed": (415, head(SIZED, "Content-Encoding: gzip") + BODY),
    "without a key": (401, head(SIZED, key="none") + BODY),
    "to nowhere": (404, head(SIZED, path="/v1/nowhere") + BODY),
}


@pytest.fixture
def opened(serve: Serve) -> Callable[[], tuple[Served, socket.socket]]:
    def one() -> tuple[Served, socket.socket]:
        served = serve(limits=http_limits(max_body_bytes=2**16))
        return served, socket.create_connection(("127.0.0.1", served.port), timeout=60)

    return one


@pytest.mark.parametrize("ending", ["close", "keep-alive"])
@pytest.mark.parametrize("what", SENT)
def test_a_refusal_reaches_a_client_that_is_still_sending(
    opened: Callable[[], tuple[Served, socket.socket]], what: str, ending: str
) -> None:
    status, sent = SENT[what]
    _, connection = opened()
    with connection:
        connection.sendall(sent.replace(b"Host: x", b"Host: x\r\nConnection: %b" % ending.encode(), 1))
        if ending == "keep-alive":
            connection.shutdown(socket.SHUT_WR)
        said = b""
        while received := connection.recv(2**16):
            said += received
    assert said.startswith(b"HTTP/1.1 %d " % status)
    assert said.count(b"HTTP/1.1 ") == 1
    assert said.endswith(b"}")


def test_a_client_that_sends_without_an_end_is_cut(
    opened: Callable[[], tuple[Served, socket.socket]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GuardedProtocol, "linger_s", 0.1)
    _, connection = opened()
    begun = time.monotonic()
    with connection, suppress(ConnectionError):
        connection.sendall(head(f"Content-Length: {10**15}", "Connection: close"))
        while time.monotonic() - begun < 60:
            connection.sendall(b" " * 2**16)
    assert time.monotonic() - begun < 60


def test_a_client_that_is_still_sending_does_not_hold_up_a_shutdown(
    opened: Callable[[], tuple[Served, socket.socket]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GuardedProtocol, "linger_s", 3600)
    made: list[GuardedProtocol] = []
    connection_made = GuardedProtocol.connection_made

    def note(protocol: GuardedProtocol, transport: asyncio.Transport) -> None:
        made.append(protocol)
        connection_made(protocol, transport)

    monkeypatch.setattr(GuardedProtocol, "connection_made", note)
    served, connection = opened()
    with connection:
        connection.sendall(head(SIZED, "Connection: close") + b" " * 1000)
        while connection.recv(2**16):
            pass
        (lingering,) = made
        assert lingering in lingering.connections
        served.call_soon(lingering.shutdown)
        wait_for(lambda: lingering not in lingering.connections)
