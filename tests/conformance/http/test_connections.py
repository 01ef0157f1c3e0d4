"""Several requests on a connection, and clients that close their side of it."""

import json
import logging
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.conformance.http.conftest import Connect, Gate
from tests.conftest import Serve, Served
from tests.waiting import wait_for

from tessera.engine.scripted.engine import cycling
from tessera.server.http1.protocol import MAX_BEHIND_BYTES

kinds = pytest.mark.parametrize("stream", [True, False])
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


def chat(raw: Any, **fields: Any) -> bytes:
    """The bytes of a chat request."""
    body = json.dumps({"messages": [{"role": "user", "content": "Hi"}], **fields}).encode()
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {raw.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def behind(raw: Any, stream: bool) -> dict[str, bytes]:
    """What a client may send on the connection after its request, by a name."""
    large = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n"
    return {
        "nothing": b"",
        "a request": chat(raw, stream=stream),
        "another": HEALTH,
        "half a head": b"GET /v1/mod",
        "half a body": chat(raw)[:-5],
        "garbage": b"\x00garbage\r\n\r\n",
        "many requests": HEALTH * 1000,
        "a large body": large + b" " * 300_000,
        "more than the kernel holds": HEALTH * 500_000,
    }


def reset(raw: Any) -> None:
    raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


@kinds
@pytest.mark.parametrize("how", ["farewell", "reset"])
@pytest.mark.parametrize("begun", [True, False], ids=["begun", "silent"])
@pytest.mark.parametrize("what", behind(type("Nobody", (), {"key": ""}), stream=False))
def test_whatever_is_sent_behind_a_request_a_client_that_leaves_is_noticed(
    serve: Serve,
    connect: Connect,
    gate: Callable[[int], Gate],
    caplog: pytest.LogCaptureFixture,
    stream: bool,
    begun: bool,
    how: str,
    what: str,
) -> None:
    """The engine never goes on by itself: nothing is written that could meet a closed socket."""
    served = serve(timing=gate(3 if begun else 0))
    raw = connect(served)
    with caplog.at_level(logging.INFO):
        raw.socket.sendall(chat(raw, stream=stream))
        wait_for(lambda: served.engine.n_running == 1)
        if stream and begun:
            raw.read_until(b"data: ")
        if what == "more than the kernel holds":
            raw.socket.settimeout(0.2)
        try:
            raw.socket.sendall(behind(raw, stream)[what])
        except TimeoutError:
            assert what == "more than the kernel holds"
        if how == "reset":
            reset(raw)
        raw.leave()
        served.wait_until_idle()
    assert (served.engine.n_aborted, served.engine.n_finished) == (1, 0)
    assert "RuntimeError" not in caplog.text
    assert "bug" not in caplog.text


def said_after(raw: Any) -> bytes:
    """All that the server sends until it closes the connection."""
    raw.socket.settimeout(60)
    return raw.read_to_the_end()


@kinds
def test_a_client_that_closes_its_side_gets_its_reply(
    serve: Serve, connect: Connect, gate: Callable[[int], Gate], stream: bool
) -> None:
    hold = gate(2)
    served = serve(timing=hold)
    whole = connect(served)
    whole.socket.sendall(chat(whole, stream=stream, max_tokens=6))
    half = connect(served)
    half.socket.sendall(chat(half, stream=stream, max_tokens=6))
    wait_for(lambda: served.engine.n_running == 2)
    half.socket.shutdown(socket.SHUT_WR)
    time.sleep(0.2)  # some bytes are sent ahead
    assert served.engine.n_running == 2
    hold.opened.set()
    said = said_after(half)
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    if stream:
        assert unchunked(body).endswith(b"data: [DONE]\n\n")
        whole.read_until(b"[DONE]")
    else:
        expected = json.loads(whole.read_response()[2])
        assert json.loads(body)["choices"] == expected["choices"]
    served.wait_until_idle()
    assert served.engine.n_aborted == 0


def unchunked(body: bytes) -> bytes:
    data = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        n_bytes = int(size, 16)
        data, body = data + rest[:n_bytes], rest[n_bytes + 2 :]
    return data


@pytest.mark.parametrize(
    "fields", [{"max_tokens": 3}, {"stream": True, "max_tokens": 3}, {"n": 99}, {"model": "x"}]
)
@pytest.mark.parametrize("pause_s", [0, 0.05])
def test_a_client_that_closes_its_side_gets_every_status(
    served: Served, connect: Connect, fields: dict[str, Any], pause_s: float
) -> None:
    raw = connect(served)
    raw.socket.sendall(chat(raw, **fields))
    time.sleep(pause_s)
    raw.socket.shutdown(socket.SHUT_WR)
    said = said_after(raw)
    assert said[:13] == {"n": b"HTTP/1.1 400 ", "model": b"HTTP/1.1 404 "}.get(
        next(iter(fields)), b"HTTP/1.1 200 "
    )
    assert said.count(b"HTTP/1.1") == 1
    served.wait_until_idle()


def test_requests_that_were_sent_before_a_client_closed_its_side_are_all_answered(
    served: Served, connect: Connect
) -> None:
    raw = connect(served)
    raw.socket.sendall(chat(raw, max_tokens=3) + HEALTH + chat(raw, max_tokens=2))
    raw.socket.shutdown(socket.SHUT_WR)
    assert said_after(raw).count(b"HTTP/1.1 200 OK") == 3


def test_a_client_that_closes_its_side_and_leaves_later_is_noticed(
    serve: Serve, connect: Connect, gate: Callable[[int], Gate]
) -> None:
    served = serve(timing=gate(0))
    raw = connect(served)
    raw.socket.sendall(chat(raw))
    wait_for(lambda: served.engine.n_running == 1)
    raw.socket.shutdown(socket.SHUT_WR)
    time.sleep(0.2)
    assert served.engine.n_running == 1
    raw.leave()
    served.wait_until_idle()
    assert served.engine.n_aborted == 1


def test_half_a_request_ends_with_its_connection(served: Served, connect: Connect) -> None:
    for n_left in (1, 60, 200):
        raw = connect(served)
        raw.socket.sendall(chat(raw)[:-n_left])
        raw.socket.shutdown(socket.SHUT_WR)
        assert said_after(raw) == b""
    served.wait_until_idle()


@kinds
@pytest.mark.parametrize(
    "garbage", [b"\x00", b"garbage\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"{}" * 100, b"\x16\x03\x01"]
)
def test_a_request_with_garbage_behind_it_is_answered_first(
    served: Served, connect: Connect, stream: bool, garbage: bytes
) -> None:
    for pause_s in (0, 0.02):
        raw = connect(served)
        sent = chat(raw, stream=stream, max_tokens=5)
        if pause_s:
            raw.socket.sendall(sent)
            time.sleep(pause_s)
            raw.socket.sendall(garbage)
        else:
            raw.socket.sendall(sent + garbage)
        said = said_after(raw)
        assert said.startswith(b"HTTP/1.1 200 OK\r\n")
        assert said.count(b"HTTP/1.1 400 ") == said.count(b"HTTP/1.1 ") - 1 == 1
        assert said.index(b"[DONE]" if stream else b'"usage"') < said.index(b"HTTP/1.1 400 ")
        assert b'"invalid_http"' in said
    served.wait_until_idle()


def test_what_waits_behind_a_request_is_bounded_and_the_reply_is_whole(
    serve: Serve, connect: Connect, gate: Callable[[int], Gate]
) -> None:
    hold = gate(2)
    served = serve(timing=hold)
    served.engine.script = cycling(served.tokenizer, n_tokens=5)
    raw = connect(served)
    raw.socket.sendall(chat(raw))
    wait_for(lambda: served.engine.n_running == 1)
    raw.socket.sendall(b"GET /healthz HTTP/1.1\r\nX: " + b"a" * 40_000_000)
    hold.opened.set()
    assert raw.read_response()[0] == 200
    assert MAX_BEHIND_BYTES < 2**20
    served.wait_until_idle()
