"""Bytes on the socket: when they come, and what happens when nobody takes them."""

import asyncio
import json
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.conformance.http.conftest import Connect, Gate
from tests.conftest import Serve, Served
from tests.limits import http_limits
from tests.waiting import wait_for

from tessera.engine.scripted.engine import cycling, failing, paced
from tessera.errors import GenerationFailed


def test_the_first_chunk_arrives_before_the_second_token_exists(
    serve: Serve, connect: Connect, gate: Callable[[int], Gate]
) -> None:
    hold = gate(1)
    raw = connect(serve(timing=hold))
    raw.ask(stream=True)
    head = raw.read_until(b"\r\n\r\n").decode().lower()
    assert head.startswith("http/1.1 200")
    assert "content-type: text/event-stream" in head
    assert "cache-control: no-cache" in head
    assert "x-accel-buffering: no" in head
    assert "x-request-id: req_" in head
    assert b'"content":"the "' in raw.read_until(b"\n\n")
    assert not hold.opened.is_set()
    hold.opened.set()
    raw.read_until(b"data: [DONE]\n\n")


def test_silence_is_broken_by_comments(serve: Serve, connect: Connect, gate: Callable[[int], Gate]) -> None:
    hold = gate(0)
    raw = connect(serve(http_limits(keep_alive_s=0.05), timing=hold))
    begun = time.monotonic()
    raw.ask(stream=True, max_tokens=2)
    raw.read_until(b": keep-alive\n")
    raw.read_until(b": keep-alive\n")
    assert time.monotonic() - begun > 0.09
    hold.opened.set()
    assert b'"content":"the "' in raw.read_until(b"data: [DONE]\n\n")


def test_no_comment_while_tokens_flow(serve: Serve, connect: Connect) -> None:
    # The reply takes longer than that silence; between two tokens there is a thirtieth of it.
    raw = connect(serve(http_limits(keep_alive_s=1.5), timing=paced(20)))
    raw.ask(stream=True, max_tokens=40)
    assert b"keep-alive" not in raw.read_until(b"data: [DONE]\n\n")


def test_an_error_after_a_comment_is_the_last_frame(
    serve: Serve, connect: Connect, gate: Callable[[int], Gate]
) -> None:
    hold = gate(0)
    served = serve(http_limits(keep_alive_s=0.03), timing=hold)
    served.engine.script = failing(cycling(served.tokenizer), GenerationFailed("It broke."), after=0)
    raw = connect(served)
    raw.ask(stream=True)
    raw.read_until(b": keep-alive\n")
    hold.opened.set()
    rest = raw.read_until(b"\r\n0\r\n\r\n")
    assert b'data: {"error":{"message":"It broke."' in rest
    assert b"[DONE]" not in rest


def test_the_tokens_of_one_step_travel_together(
    serve: Serve, connect: Connect, gate: Callable[[int], Gate]
) -> None:
    hold = gate(1)
    raw = connect(serve(timing=hold, tokens_per_chunk=4))
    raw.ask(stream=True, n=1)
    assert b'"content":"the little lamp burned "' in raw.read_until(b"\n\n")
    hold.opened.set()


def test_the_end_is_sent_with_its_last_frame_and_the_connection_lives_on(
    served: Served, connect: Connect
) -> None:
    raw = connect(served)
    for _ in range(3):
        raw.ask(stream=True, max_tokens=2)
        raw.read_until(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    served.wait_until_idle()


MOST_TURNS = 250
"""Turns of the loop until a client that left is noticed. A timer of a quarter of a second would take more."""


@pytest.mark.parametrize("stream", [True, False])
def test_leaving_before_the_first_token_aborts(
    serve: Serve, connect: Connect, gate: Callable[[int], Gate], stream: bool
) -> None:
    hold = gate(0)
    served = serve(timing=hold)
    raw = connect(served)
    raw.ask(stream=stream)
    wait_for(lambda: served.engine.n_running == 1)
    assert served.in_flight.n == 1
    raw.leave()
    n_before = hold.n_turns
    served.wait_until_idle()
    assert hold.n_turns - n_before < MOST_TURNS
    assert served.engine.n_aborted == 1


@pytest.mark.parametrize("stream", [True, False])
def test_leaving_between_tokens_aborts(
    serve: Serve, connect: Connect, gate: Callable[[int], Gate], stream: bool
) -> None:
    hold = gate(5)
    served = serve(timing=hold)
    raw = connect(served)
    raw.ask(stream=stream)
    if stream:
        raw.read_until(b"burned")
    wait_for(lambda: served.engine.n_running == 1)
    raw.leave()
    n_before = hold.n_turns
    served.wait_until_idle()
    assert hold.n_turns - n_before < MOST_TURNS
    assert served.engine.n_aborted == 1


def test_leaving_while_tokens_flow_aborts(serve: Serve, connect: Connect) -> None:
    n_steps = 0

    async def counted(step: int) -> None:
        nonlocal n_steps
        n_steps += 1
        await asyncio.sleep(0.001)

    served = serve(timing=counted)
    served.engine.script = cycling(served.tokenizer, n_tokens=10**9)
    raw = connect(served)
    raw.ask(stream=True)
    raw.read_until(b"burned")
    raw.leave()
    n_before = n_steps
    served.wait_until_idle()
    assert n_steps - n_before < MOST_TURNS
    assert served.engine.n_aborted == 1


def test_leaving_within_the_body_starts_nothing(serve: Serve, connect: Connect) -> None:
    served = serve(http_limits(body_deadline_s=3600))
    raw = connect(served)
    raw.send("POST /v1/chat/completions", b'{"mess', Content_Type="application/json", Content_Length="99")
    wait_for(lambda: served.in_flight.n == 1)
    raw.leave()
    served.wait_until_idle()
    assert served.engine.n_aborted == served.engine.n_finished == 0


def test_a_client_that_does_not_read_is_cut_off(serve: Serve, connect: Connect) -> None:
    served = serve(http_limits(send_deadline_s=0.2, keep_alive_s=0.1))
    served.engine.script = cycling(served.tokenizer, n_tokens=10**9)
    raw = connect(served, receive_buffer=4096)
    raw.ask(stream=True)
    wait_for(lambda: served.engine.n_running == 1)
    served.wait_until_idle()
    assert served.engine.n_aborted == 1
    assert b"[DONE]" not in raw.read_to_the_end()


@pytest.mark.slow
def test_a_thousand_clients_vanish_and_nothing_stays(serve: Serve, connect: Callable[..., Any]) -> None:
    served = serve(timing=paced(200, first_s=0.02))
    chance = random.Random(7)
    moments = [chance.choice([0, 0, chance.random() * 0.1]) for _ in range(1000)]
    moments += [-1] * 150  # when the reply has begun

    def vanish(moment: float) -> None:
        raw = connect(served)
        raw.ask(stream=moment < 0 or moment * 1000 % 2 < 1, max_tokens=500)
        if moment < 0:
            raw.read_until(b"data: ")
        else:
            time.sleep(moment)
        raw.leave()

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(vanish, moments))
    served.wait_until_idle()
    raw = connect(served)
    raw.ask(max_tokens=1)
    assert raw.read_response()[0] == 200
    served.wait_until_idle()
    assert 100 < served.engine.n_aborted <= len(moments)


def test_a_whole_reply_says_how_long_it_is(served: Served, connect: Connect) -> None:
    raw = connect(served)
    raw.ask(max_tokens=2)
    status, headers, body = raw.read_response()
    assert (status, headers["content-type"]) == (200, "application/json")
    assert json.loads(body)["choices"][0]["message"]["content"] == "the little "


@pytest.mark.parametrize("extra", ["", "Connection: keep-alive\r\n", "Expect: 100-continue\r\n"])
@pytest.mark.parametrize("version", ["1.0", "0.9"])
def test_http_1_0_gets_no_chunks_and_the_end_is_that_of_the_connection(
    served: Served, connect: Connect, version: str, extra: str
) -> None:
    for stream in (True, False):
        raw = connect(served)
        body = json.dumps(
            {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5, "stream": stream}
        )
        raw.socket.sendall(
            f"POST /v1/chat/completions HTTP/{version}\r\nAuthorization: Bearer {raw.key}\r\n{extra}"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        head, _, said = raw.read_to_the_end().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"\r\nconnection: close" in head
        assert b"transfer-encoding" not in head
        if stream:
            assert b"content-length" not in head
            assert said.startswith(b"data: {")
            assert said.endswith(b"}\n\ndata: [DONE]\n\n")
        else:
            assert f"\r\ncontent-length: {len(said)}\r\n".encode() in head
            assert json.loads(said)["object"] == "chat.completion"
    raw = connect(served)
    raw.socket.sendall(f"HEAD /healthz HTTP/{version}\r\n{extra}\r\n".encode())
    assert raw.read_to_the_end().endswith(b"\r\n\r\n")
