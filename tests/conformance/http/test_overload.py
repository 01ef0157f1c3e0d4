"""More requests than can be answered: who waits, who is refused, and that nothing is kept of either."""

import json
from collections.abc import Callable

from tests.conformance.http.conftest import Connect, Gate
from tests.conftest import Serve
from tests.limits import http_limits
from tests.waiting import wait_for

from tessera.access.capacity import Capacity


def test_one_too_many_is_refused_at_once_and_the_next_waits(
    serve: Serve, connect: Connect, gate: Callable[[int], Gate]
) -> None:
    hold = gate(0)
    served = serve(capacity=Capacity(max_running=1, max_queued=1), timing=hold)
    first, second, third = (connect(served) for _ in range(3))
    first.ask(max_tokens=2)
    wait_for(lambda: served.engine.n_running == 1)
    second.ask(max_tokens=2)
    wait_for(lambda: served.queue.n_waiting == 1)
    third.ask(max_tokens=2)
    status, headers, body = third.read_response()
    assert status == 503
    assert json.loads(body)["error"]["type"] == "overloaded_error"
    assert json.loads(body)["error"]["code"] == "engine_overloaded"
    assert int(headers["retry-after"]) >= 1
    hold.opened.set()
    assert [first.read_response()[0], second.read_response()[0]] == [200, 200]
    served.wait_until_idle()


def test_a_full_line_refuses_before_the_body_is_read(
    serve: Serve, connect: Connect, gate: Callable[[int], Gate]
) -> None:
    hold = gate(0)
    served = serve(capacity=Capacity(max_running=1, max_queued=0), timing=hold)
    connect(served).ask(max_tokens=2)
    wait_for(lambda: served.engine.n_running == 1)
    refused = connect(served)
    head = "POST /v1/chat/completions"
    refused.send(head, b"{", Content_Type="application/json", Content_Length="1000000")
    assert refused.read_response()[0] == 503


def test_whoever_leaves_the_line_is_forgotten(
    serve: Serve, connect: Connect, gate: Callable[[int], Gate]
) -> None:
    hold = gate(0)
    served = serve(capacity=Capacity(max_running=1), timing=hold)
    connect(served).ask(max_tokens=2)
    wait_for(lambda: served.engine.n_running == 1)
    for _ in range(20):
        raw = connect(served)
        raw.ask(stream=True)
        wait_for(lambda: served.queue.n_waiting == 1)
        raw.socket.close()
        wait_for(lambda: served.queue.n_waiting == 0)
    hold.opened.set()
    served.wait_until_idle()
    assert served.engine.n_finished == 1
    assert served.engine.n_aborted == 0


def test_a_wait_that_lasts_too_long_is_503(
    serve: Serve, connect: Connect, gate: Callable[[int], Gate]
) -> None:
    served = serve(capacity=Capacity(max_running=1, queue_deadline_s=0.05), timing=gate(0))
    connect(served).ask(max_tokens=2)
    wait_for(lambda: served.engine.n_running == 1)
    late = connect(served)
    late.ask(stream=True)
    status, _, body = late.read_response()
    assert (status, json.loads(body)["error"]["code"]) == (503, "queue_timeout")


def test_the_deadline_is_504_before_the_first_byte(
    serve: Serve, connect: Connect, gate: Callable[[int], Gate]
) -> None:
    served = serve(http_limits(deadline_s=0.05), timing=gate(0))
    for stream in (False, True):
        raw = connect(served)
        raw.ask(stream=stream)
        status, _, body = raw.read_response()
        assert (status, json.loads(body)["error"]["code"]) == (504, "engine_timeout")
    served.wait_until_idle()


def test_the_deadline_is_an_error_frame_after_it(
    serve: Serve, connect: Connect, gate: Callable[[int], Gate]
) -> None:
    served = serve(http_limits(deadline_s=2), timing=gate(3))
    raw = connect(served)
    raw.ask(stream=True)
    said = raw.read_until(b"\r\n0\r\n\r\n")
    assert said.count(b'"content":') == 3
    assert b'data: {"error":{' in said
    assert b'"code":"engine_timeout"' in said
    assert b"[DONE]" not in said
    served.wait_until_idle()


def test_what_is_left_at_the_end_gets_an_error(
    serve: Serve, connect: Connect, gate: Callable[[int], Gate]
) -> None:
    served = serve(capacity=Capacity(max_running=1), timing=gate(1))
    streamed, waiting = connect(served), connect(served)
    streamed.ask(stream=True)
    streamed.read_until(b'"content":"the "')
    waiting.ask()
    wait_for(lambda: served.queue.n_waiting == 1)
    served.call_soon(served.in_flight.end)
    assert b'"code":"draining"' in streamed.read_until(b"\r\n0\r\n\r\n")
    status, _, body = waiting.read_response()
    assert (status, json.loads(body)["error"]["code"]) == (503, "draining")
    served.wait_until_idle()
