"""Two accounts at one server, of which one takes as much as it can."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from tests.conformance.http.conftest import Gate, Raw
from tests.conftest import KEY, Served
from tests.limits import http_limits
from tests.waiting import wait_for

from tessera.access.capacity import Capacity
from tessera.access.keys import AccountId, Keys
from tessera.access.tiers import DEFAULTS, Tier

OTHER = "sk-tessera-" + "o" * 40
Serve = Callable[..., Served]
WIDE = replace(DEFAULTS["lite"], sustained_rpm=10**6, burst_rpm=10**6, concurrency=1000)
HIGH = replace(DEFAULTS["enterprise"], concurrency=1000)


def two(one: Tier = WIDE, other: Tier = WIDE) -> Keys:
    keys = Keys()
    keys.add(KEY, AccountId("one"), one)
    keys.add(OTHER, AccountId("other"), other)
    return keys


@pytest.fixture
def connect_as(connect: Callable[..., Raw]) -> Callable[[Served, str], Raw]:
    def open_one(served: Served, key: str) -> Raw:
        raw = connect(served)
        raw.key = key
        return raw

    return open_one


def post(served: Served, key: str, **fields: Any) -> httpx2.Response:
    asked = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3, **fields}
    headers = {"Authorization": f"Bearer {key}"}
    url = f"{served.url}/v1/chat/completions"
    return httpx2.post(url, json=asked, headers=headers, timeout=60, trust_env=False)


def code(response: httpx2.Response) -> str:
    return response.json()["error"]["code"]


@pytest.fixture
def hold(gate: Callable[[int], Gate]) -> Iterator[Gate]:
    held = gate(0)
    yield held
    held.opened.set()


@pytest.mark.parametrize("n", [1, 3, 8])
def test_the_highest_priority_has_a_place_whatever_lower_ones_hold(
    serve: Serve, connect_as: Callable[[Served, str], Raw], hold: Gate, n: int
) -> None:
    served = serve(keys=two(other=HIGH), capacity=Capacity(12, reserved={4: 2}), timing=hold)
    n_fit = 10 // n
    low = [connect_as(served, KEY) for _ in range(12)]
    for each in low:
        each.ask(n=n, max_tokens=2)
    wait_for(lambda: served.engine.n_running == n_fit)
    wait_for(lambda: served.queue.n_waiting == 12 - n_fit)
    high = connect_as(served, OTHER)
    high.ask(n=2, max_tokens=2)
    wait_for(lambda: (served.engine.n_running, served.queue.n_running) == (n_fit + 1, n_fit * n + 2))
    assert served.queue.n_running <= 12
    hold.opened.set()
    assert [each.read_response()[0] for each in (high, *low)] == [200] * 13
    served.wait_until_idle()


def test_choices_count_against_the_tier_s_concurrency(
    serve: Serve, connect_as: Callable[[Served, str], Raw], hold: Gate
) -> None:
    served = serve(keys=two(replace(WIDE, concurrency=8)), timing=hold)
    held = [connect_as(served, KEY) for _ in range(2)]
    for each, n in zip(held, (5, 2), strict=True):
        each.ask(n=n, max_tokens=2)
    wait_for(lambda: served.queue.n_running == 7)
    refused = post(served, KEY, n=2)
    assert (refused.status_code, code(refused)) == (429, "concurrency_limit_exceeded")
    assert "x-should-retry" not in refused.headers
    last = connect_as(served, KEY)
    last.ask(n=1, max_tokens=2)
    wait_for(lambda: served.queue.n_running == 8)
    hold.opened.set()
    assert [each.read_response()[0] for each in (*held, last)] == [200] * 3
    assert post(served, KEY, n=8).status_code == 200
    served.wait_until_idle()


def test_more_choices_than_the_tier_ever_allows_are_refused_for_good(serve: Serve) -> None:
    served = serve(keys=two(replace(WIDE, concurrency=4)))
    refused = post(served, KEY, n=5)
    assert (refused.status_code, code(refused)) == (429, "concurrency_limit_exceeded")
    assert refused.json()["error"]["param"] == "n"
    assert refused.headers["x-should-retry"] == "false"
    assert refused.headers["x-ratelimit-remaining-requests"] == str(10**6)
    assert post(served, KEY, n=4).status_code == 200


SMALL_LIMITS = http_limits(
    max_body_bytes=256 * 1024, account_body_bytes=512 * 1024, priority_body_bytes=2**20
)


def held_back(served: Served, key: str, connect_as: Callable[[Served, str], Raw]) -> tuple[Raw, bytes]:
    """A connection that has sent the largest body without its last byte, and that byte."""
    raw = connect_as(served, key)
    empty = json.dumps({"messages": [{"role": "user", "content": ""}], "max_tokens": 2})
    pad = " " * (SMALL_LIMITS.max_body_bytes - len(empty))
    raw.send(
        "POST /v1/chat/completions",
        Content_Type="application/json",
        Content_Length=str(SMALL_LIMITS.max_body_bytes),
    )
    body = (pad + empty).encode()
    threading.Thread(target=raw.socket.sendall, args=[body[:-1]], daemon=True).start()
    return raw, body[-1:]


def test_bodies_that_are_held_back_keep_no_other_account_waiting(
    serve: Serve, connect_as: Callable[[Served, str], Raw]
) -> None:
    served = serve(SMALL_LIMITS, keys=two())
    held = [held_back(served, KEY, connect_as) for _ in range(40)]
    wait_for(lambda: served.bodies.n_waiting == 38)
    assert served.bodies.n_bytes <= SMALL_LIMITS.account_body_bytes
    # The other account's largest body goes first, though the one's have waited longer.
    assert post(served, OTHER, user="u" * 200_000).status_code == 200
    assert (served.bodies.n_waiting, served.engine.n_finished) == (38, 1)
    for raw, last in held:
        raw.socket.sendall(last)
        assert raw.read_response()[0] == 200
    served.wait_until_idle()
    assert served.bodies.n_bytes == 0


def test_bodies_that_wait_too_long_are_429_and_those_that_stall_408(
    serve: Serve, connect_as: Callable[[Served, str], Raw]
) -> None:
    served = serve(replace(SMALL_LIMITS, body_deadline_s=3), keys=two())
    held = [held_back(served, KEY, connect_as) for _ in range(2)]
    wait_for(lambda: served.bodies.n_bytes == SMALL_LIMITS.account_body_bytes)
    waiting, _ = held_back(served, KEY, connect_as)
    statuses = []
    for raw in (waiting, *(raw for raw, _ in held)):
        status, _, body = raw.read_response()
        statuses.append((status, json.loads(body)["error"]["code"]))
    assert statuses[1:] == [(408, "body_timeout")] * 2
    # Two stalled bodies are charged for: the one that waited has neither theirs nor its own yet.
    assert statuses[0] in ((429, "body_limit_exceeded"), (408, "body_timeout"))
    served.wait_until_idle()


@pytest.mark.parametrize("what", ["400", "413", "404"])
def test_refused_bodies_are_charged_to_their_account_only(serve: Serve, what: str) -> None:
    limits = replace(SMALL_LIMITS, max_body_bytes=2**20, account_body_bytes=2**20)
    served = serve(limits, keys=two(), context_tokens=1000)
    fields = {
        "400": {"n": 99, "user": "u" * 900_000},
        "404": {"model": "none", "user": "u" * 900_000},
        "413": {"messages": [{"role": "user", "content": "x" * 900_000}]},
    }[what]
    assert post(served, KEY, **fields).status_code == int(what)
    assert served.bodies.n_bytes > 900_000
    assert post(served, OTHER, user="u" * 900_000).status_code == 200
    assert post(served, KEY, user="u" * 900_000).status_code == 200  # after a while
