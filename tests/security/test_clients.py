"""Clients that mean no good with the connection itself: they dribble, do not read, or leave."""

import json
import random
import resource
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from tests.conformance.http.conftest import Connect
from tests.conftest import Serve, Served
from tests.limits import http_limits
from tests.waiting import wait_for

from tessera.engine.scripted.engine import cycling, paced
from tessera.server.http1.protocol import GuardedProtocol

counts = pytest.mark.parametrize(
    "n", [pytest.param(100, id="some"), pytest.param(1000, id="many", marks=pytest.mark.full)]
)


def check_service(connect: Callable[..., Any], served: Served) -> None:
    """Checks that an honest client is answered."""
    raw = connect(served)
    raw.ask(max_tokens=3)
    assert raw.read_response()[0] == 200


HEADS = {
    "header": b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ",
    "body": b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"
    b"Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n{",
}


@pytest.mark.parametrize("head", HEADS)
def test_slowloris_a_good_client_is_served_beside_two_hundred_that_dribble(
    head: str, serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their deadline is far: were they served one after the other, nobody would be answered."""
    monkeypatch.setattr(GuardedProtocol, "head_deadline_s", 3600.0)
    served = serve(http_limits(body_deadline_s=3600.0))
    slow = [connect(served) for _ in range(200)]
    sent = HEADS[head].replace(b"%s", served.key.encode())
    for raw in slow:
        raw.socket.sendall(sent)
    for _ in range(5):
        for raw in slow:
            raw.socket.sendall(b"a")
        check_service(connect, served)


def is_cut(raw: Any) -> bool:
    """Sends a byte; returns whether the server has closed the connection."""
    try:
        raw.socket.sendall(b"a")
        return not raw.socket.recv(65536)
    except TimeoutError:
        return False
    except ConnectionError:
        return True


@pytest.mark.parametrize("head", HEADS)
def test_slowloris_those_that_dribble_are_cut_off_however_they_go_on(
    head: str, serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GuardedProtocol, "head_deadline_s", 1.0)
    served = serve(http_limits(body_deadline_s=1.0))
    slow = [connect(served) for _ in range(20)]
    for raw in slow:
        with suppress(ConnectionError):
            raw.socket.sendall(HEADS[head].replace(b"%s", served.key.encode()))
        raw.socket.settimeout(0.01)
    # Each byte would put off a deadline that counts from the last one.
    wait_for(lambda: sum(map(is_cut, slow)) == len(slow))
    served.wait_until_idle()


def test_slow_readers_of_streams_are_cut_off_and_cost_nothing(serve: Serve, connect: Connect) -> None:
    served = serve(http_limits(send_deadline_s=1, keep_alive_s=0.5), context_tokens=10**9)
    served.engine.script = cycling(served.tokenizer, n_tokens=10**9)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    slow = [connect(served, receive_buffer=4096) for _ in range(5)]
    for raw in slow:
        raw.ask(stream=True)
    wait_for(lambda: served.engine.n_running == 5)
    served.wait_until_idle()
    assert served.engine.n_aborted == 5
    served.engine.script = cycling(served.tokenizer)
    check_service(connect, served)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


def replies_read(raw: Any, n_at_once: int, pause_s: float) -> int:
    """How many of the replies to its requests a client gets that reads so much at once."""
    n_replies = 0
    last = b""
    with suppress(ConnectionError):
        while received := raw.socket.recv(n_at_once):
            n_replies += (last + received).count(b"HTTP/1.1 200") - last.count(b"HTTP/1.1 200")
            last = received[-11:]
            time.sleep(pause_s)
    return n_replies


def test_whoever_reads_a_little_now_and_then_does_not_keep_a_connection(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anyone may ask for pages, many at once. No key is needed for it."""
    monkeypatch.setattr(GuardedProtocol, "send_deadline_s", 0.5)
    served = serve()
    n_asked = 1500
    asked = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * (n_asked - 1)
    asked += b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    slow, quick = connect(served, receive_buffer=4096), connect(served)
    for raw in (slow, quick):
        raw.socket.sendall(asked)
    assert replies_read(quick, 65536, 0) == n_asked
    assert replies_read(slow, 512, 0.05) < n_asked


STAGES = ("head", "body", "sent", "first byte", "while it streams", "end")


def leave_in(stage: str, raw: Any, chance: random.Random) -> None:
    n, stream = chance.randint(1, 3), chance.random() < 0.7
    asked = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 40, "n": n, "stream": stream}
    body = json.dumps(asked).encode()
    request = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {raw.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    sent = {"head": chance.randrange(1, 100), "body": len(request) - chance.randrange(1, len(body))}
    raw.socket.sendall(request[: sent.get(stage, len(request))])
    with suppress(TimeoutError, AssertionError):
        if stage == "first byte":
            raw.socket.recv(1)
        elif stage == "while it streams":
            raw.socket.settimeout(1)  # a reply that is not streamed has fewer parts
            for _ in range(chance.randrange(2, 6)):
                raw.socket.recv(300)
        elif stage == "end":
            raw.read_until(b"[DONE]" if stream else b'"usage"')
    if chance.random() < 0.5:  # a reset, not a farewell
        raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    raw.leave()


@counts
def test_CVE_2026_9540_whatever_is_aborted_in_whatever_stage_gives_everything_back(
    n: int, serve: Serve, connect: Connect
) -> None:
    served = serve(timing=paced(400, first_s=0.01))
    chance = random.Random(9)
    stages = [chance.choice(STAGES) for _ in range(n)]

    def leave(i: int) -> None:
        leave_in(stages[i], connect(served), random.Random(i))

    with ThreadPoolExecutor(25) as pool:
        list(pool.map(leave, range(n)))
    served.wait_until_idle()
    assert served.engine.n_aborted > n / 10
    assert served.engine.n_finished > n / 50
    check_service(connect, served)
    served.wait_until_idle()


def test_compressed_bombs_many_at_once_are_refused_unread(served: Served, connect: Connect) -> None:
    """What a bomb would swell to is never known: its encoding is enough to refuse it."""
    for encoding in ("gzip", "deflate", "br", "zstd", "gzip, identity", "x-gzip"):
        raws = [connect(served) for _ in range(5)]
        for raw in raws:
            raw.send(
                "POST /v1/chat/completions",
                b"\x1f\x8b" + b"\0" * 1000,
                Content_Type="application/json",
                Content_Encoding=encoding,
                Content_Length="1002",
            )
        assert {raw.read_response()[0] for raw in raws} == {415}
