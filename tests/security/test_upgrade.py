"""A wish for another protocol is ignored: the request is one of HTTP/1.1, and ends where it says."""

import json
import random
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send
from tests.conformance.http.conftest import Connect
from tests.conftest import Served

from tessera.server.http1.framing import MAX_HEAD_BYTES

H2C = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
WISHES = (
    H2C,
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: eA==\r\n",
    "UPGRADE: h2c, x/1\r\nupgrade:\r\nconnection: keep-alive, upgrade\r\nX-Empty:\r\n",
)
# What must not be taken for a request.
INSIDE = b"GET /smuggled HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    headers = [(name.decode(), value.decode()) for name, value in scope["headers"]]
    said = json.dumps([scope["method"], scope["raw_path"].decode(), headers, body.decode()]).encode()
    length = (b"content-length", str(len(said)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": said})


@pytest.fixture(scope="module")
def port(run_app: Callable[[ASGIApp], AbstractContextManager[int]]) -> Iterator[int]:
    """The port of a server that answers with the request as it understood it."""
    with run_app(echo) as port:
        yield port


def said_to(port: int, parts: Sequence[bytes], pause_s: float = 0.001) -> list[Any]:
    """The bodies of all answers until the server closes."""
    said = b""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in parts:
            sock.sendall(part)
            time.sleep(pause_s)
        while received := sock.recv(65536):
            said += received
    bodies: list[Any] = []
    while said:
        head, _, rest = said.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n"), head
        n_bytes = next(int(line[15:]) for line in head.splitlines() if line.startswith(b"content-length:"))
        bodies.append(json.loads(rest[:n_bytes]))
        said = rest[n_bytes:]
    return bodies


def request(i: int, wish: str, body: bytes, chunk_bytes: int, *, last: bool) -> tuple[bytes, list[Any]]:
    """A request, in chunks if they have a size, and how it has to be understood."""
    lines = ["Host: x", *wish.splitlines()]
    lines.append("Transfer-Encoding: chunked" if chunk_bytes else f"Content-Length: {len(body)}")
    lines += ["Connection: close"] if last else []
    sent = body
    if chunk_bytes:
        pieces = [body[at : at + chunk_bytes] for at in range(0, len(body), chunk_bytes)]
        sent = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""])
    split = [line.partition(":") for line in lines]
    headers = [[name.lower(), value.strip()] for name, _, value in split if name.lower() != "upgrade"]
    head = "\r\n".join([f"POST /{i}?a=%20 HTTP/1.1", *lines, "", ""]).encode()
    return head + sent, ["POST", f"/{i}", headers, body.decode()]


@pytest.mark.parametrize("chunk_bytes", [0, 7])
@pytest.mark.parametrize("wish", WISHES)
def test_the_body_is_read_wherever_packets_end(port: int, wish: str, chunk_bytes: int) -> None:
    sent, understood = request(0, wish, b'{"a": 1}' + INSIDE, chunk_bytes, last=True)
    for at in {*range(1, len(sent), 9), sent.index(b"\r\n\r\n") + 3, sent.index(b"\r\n\r\n") + 4}:
        assert said_to(port, [sent[:at], sent[at:]]) == [understood]
    assert said_to(port, [bytes([byte]) for byte in sent], pause_s=0) == [understood]


@pytest.mark.parametrize(
    "n", [pytest.param(60, id="some"), pytest.param(3000, id="many", marks=pytest.mark.full)]
)
def test_pipelined_requests_are_each_understood_as_without_their_wish(port: int, n: int) -> None:
    for seed in range(n):
        chance = random.Random(seed)
        sent, understood = b"", []
        n_requests = chance.choice([1, 2, 3, 8])
        for i in range(n_requests):
            body = chance.choice([b"", b"x", INSIDE, INSIDE * 50, b"0\r\n\r\n" + INSIDE])
            wish = chance.choice(["", *WISHES])
            one, meant = request(i, wish, body, chance.choice([0, 0, 1, 30]), last=i == n_requests - 1)
            sent, understood = sent + one, [*understood, meant]
        cuts = sorted(chance.randrange(len(sent)) for _ in range(chance.choice([0, 1, 4])))
        parts = [sent[a:b] for a, b in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
        assert said_to(port, parts) == understood, seed


def test_many_wishes_in_one_packet_are_all_answered(port: int) -> None:
    n = 1000
    sent = b"GET / HTTP/1.1\r\nHost:x\r\nUpgrade:x\r\nConnection:upgrade\r\n\r\n" * n
    assert len(sent) < MAX_HEAD_BYTES
    bodies = said_to(port, [sent + b"GET /end HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"])
    assert [body[1] for body in bodies] == ["/"] * n + ["/end"]


@pytest.mark.parametrize("wish", ["", H2C])
def test_what_is_read_at_once_from_one_head_into_another_is_not_a_large_head(port: int, wish: str) -> None:
    n = 3000  # reading waits while requests do, and the kernel hands over all that came meanwhile
    requests = [request(i, f"X-A: {'a' * 90}\r\n{wish}", b"", 0, last=i == n - 1) for i in range(n)]
    sent = b"".join(sent for sent, _ in requests)
    assert said_to(port, [sent[:20], sent[20:]], pause_s=0.05) == [meant for _, meant in requests]


def test_a_tunnel_is_refused_and_nothing_is_read_of_it(served: Served, connect: Connect) -> None:
    for target in ("x:1", "http://x/healthz", "/healthz"):
        raw = connect(served)
        raw.send(f"CONNECT {target}", INSIDE)
        said = raw.read_to_the_end()
        assert said.startswith(b"HTTP/1.1 400")
        assert said.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("wish", WISHES)
def test_a_chat_request_with_a_wish_is_answered_and_the_connection_goes_on(
    served: Served, connect: Connect, wish: str
) -> None:
    """`curl --http2` and Java's HttpClient ask for h2c with every first request."""
    raw = connect(served)
    headers = dict(line.split(":", 1) for line in wish.lower().splitlines())
    body = json.dumps({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3}).encode()
    for extra in (headers, {}, {**headers, "Expect": "100-continue"}):
        raw.send(
            "POST /v1/chat/completions",
            b"" if "Expect" in extra else body,
            Content_Type="application/json",
            Content_Length=str(len(body)),
            **extra,
        )
        if "Expect" in extra:
            assert raw.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 100")
            raw.socket.sendall(body)
        status, _, said = raw.read_response()
        assert (status, json.loads(said)["usage"]["completion_tokens"]) == (200, 3)
