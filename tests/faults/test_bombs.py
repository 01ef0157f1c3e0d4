"""Bombs of HTTP, from many connections at once: compressed bodies, and heads without an end."""

import gzip
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.serving import Server, ask

N_CONNECTIONS = 60
BOMB = gzip.compress(b" " * 50_000_000)
MOST_S = 1
"""Processor time for all bombs: some 0.03 s are measured. To inflate the bodies takes several seconds."""

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")


def memory_bytes(server: Server) -> int:
    pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def processor_s(server: Server) -> float:
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def check_service(server: Server) -> None:
    """Checks that an honest client is answered."""
    with server.client() as client:
        assert client.post("/v1/chat/completions", json=ask()).status_code == 200


def opened(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=60)


def chat(server: Server, *lines: str) -> bytes:
    head = ["POST /v1/chat/completions HTTP/1.1", "Host: x", f"Authorization: Bearer {server.key}", *lines]
    return "\r\n".join(head).encode() + b"\r\n"


def gzipped_body(server: Server) -> bytes:
    gzipped = ("Content-Type: application/json", "Content-Encoding: gzip", f"Content-Length: {len(BOMB)}")
    return chat(server, *gzipped) + b"\r\n" + BOMB


BOMBS: dict[str, tuple[Callable[[Server], bytes], bytes]] = {
    "gzip": (gzipped_body, b"415"),
    "a long header": (lambda server: chat(server, "X-A: " + "a" * 2**20), b"400"),
    "many headers": (lambda server: chat(server) + b"X-A: b\r\n" * 50_000 + b"\r\n", b"400"),
    "a long target": (lambda server: b"GET /" + b"a" * 2**20 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
    "no end": (lambda server: chat(server) + b"X-" + b"a" * 2**18, b"400"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_from_many_connections_are_refused_and_cost_nothing(
    bomb: str, service: Callable[..., Server]
) -> None:
    server = service("--scripted-tokens-per-s", "1000")
    check_service(server)
    before, before_s = memory_bytes(server), processor_s(server)
    make, status = BOMBS[bomb]
    sockets = [opened(server) for _ in range(N_CONNECTIONS)]
    for sock in sockets:
        with suppress(ConnectionError):  # closed before all of it was sent
            sock.sendall(make(server))
    check_service(server)
    statuses: set[Any] = set()
    for sock in sockets:
        with sock, suppress(ConnectionError):
            if answer := sock.recv(100):
                statuses.add(answer.split(b" ")[1])
    assert statuses <= {status}
    check_service(server)
    assert memory_bytes(server) - before < 64 * 2**20
    assert processor_s(server) - before_s < MOST_S
    assert server.stop()[0] == 0
