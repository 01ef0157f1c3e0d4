"""Clients that read slowly, or not at all: they are waited for as long as was promised, and then cut off.

What waits for them is bounded, and nobody else waits.
"""

import asyncio
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.http.conftest import Connect
from tests.conftest import Serve, Served
from tests.limits import http_limits
from tests.waiting import wait_for

from tessera.engine.scripted.engine import ScriptedTokenizer, cycling

SEND_DEADLINE_S = 0.6
ENDLESS = cycling(ScriptedTokenizer(), n_tokens=10**9)

N_FRAME_BYTES = 250  # a little less than a token's

COUNTS = [pytest.param(8, id="some"), pytest.param(100, id="many", marks=pytest.mark.full)]


def resident_kib() -> int:
    """The resident memory of this process, in which the server runs."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") // 1024


def slow_server(serve: Serve, send_deadline_s: float = SEND_DEADLINE_S) -> Any:
    """A server that makes endless tokens, far faster than its clients read, and soon disconnects them."""
    limits = http_limits(send_deadline_s=send_deadline_s, keep_alive_s=0.2)
    return serve(limits, script=ENDLESS, context_tokens=2**30, tokens_per_chunk=64)


def one_more_is_answered(served: Served, connect: Connect) -> None:
    raw = connect(served)
    raw.ask(stream=True, max_tokens=640)
    raw.read_until(b"data: [DONE]\n\n")


@pytest.mark.parametrize("n", COUNTS)
def test_clients_that_do_not_read_are_cut_off_and_hold_little(serve: Serve, connect: Connect, n: int) -> None:
    served = slow_server(serve)
    one_more_is_answered(served, connect)
    before_kib = resident_kib()
    stuck = [connect(served, receive_buffer=4096) for _ in range(n)]
    for raw in stuck:
        raw.ask(stream=True)
    wait_for(lambda: served.engine.n_aborted > 0)
    one_more_is_answered(served, connect)
    served.wait_until_idle()
    assert served.engine.n_aborted == n
    # A buffer of uvloop's and one write above it; had all been kept, it would be hundreds of MiB.
    assert resident_kib() - before_kib < 16 * 1024 + n * 256
    for raw in stuck:
        assert b"[DONE]" not in raw.read_to_the_end()


def test_the_buffer_of_a_client_that_does_not_read_is_bounded(serve: Serve, connect: Connect) -> None:
    served = serve(http_limits(send_deadline_s=60), script=ENDLESS, context_tokens=2**30)
    raw = connect(served, receive_buffer=4096)
    steps = 0

    async def counted(step: int) -> None:
        nonlocal steps
        steps = step
        await asyncio.sleep(0)

    served.engine.timing = counted
    raw.ask(stream=True)
    wait_for(lambda: steps > 0)
    seen = -1
    while seen != steps:  # until the generation stands still
        seen = steps
        time.sleep(0.2)
    assert served.engine.n_running == 1
    assert seen * N_FRAME_BYTES < 2**20
    raw.read_until(b"data: ")
    wait_for(lambda: bool(raw.socket.recv(65536)) and steps > seen)
    raw.leave()
    served.wait_until_idle()


def test_a_slow_reader_gets_all_it_can_take_until_a_write_takes_too_long(
    serve: Serve, connect: Connect
) -> None:
    """1 KiB a second is less than a chunk per deadline: it is as good as stuck. Others do not notice."""
    served = slow_server(serve)
    slow = connect(served, receive_buffer=4096)
    stop = threading.Event()
    read = bytearray()

    def trickle() -> None:
        while not stop.wait(0.25):
            try:
                received = slow.socket.recv(256)
            except (OSError, TimeoutError):
                return
            if not received:
                return
            read.extend(received)

    slow.ask(stream=True)
    reader = threading.Thread(target=trickle)
    reader.start()
    try:
        wait_for(lambda: served.engine.n_running == 1)
        one_more_is_answered(served, connect)
        wait_for(lambda: served.engine.n_aborted == 1)
        served.wait_until_idle()
        assert b"data: " in read
    finally:
        slow.socket.shutdown(socket.SHUT_RDWR)
        stop.set()
        reader.join()


def test_a_reader_that_is_slow_but_reads_gets_it_all(serve: Serve, connect: Connect) -> None:
    served = slow_server(serve, send_deadline_s=10)
    raw = connect(served, receive_buffer=4096)
    raw.ask(stream=True, max_tokens=64 * 300)
    n_bytes = 0
    while b"data: [DONE]" not in raw.seen[-100:]:
        received = raw.socket.recv(4096)
        assert received
        raw.seen += received
        n_bytes += len(received)
        time.sleep(0.001)
    assert n_bytes > 100_000
    served.wait_until_idle()
    assert served.engine.n_finished >= 1
    assert served.engine.n_aborted == 0
