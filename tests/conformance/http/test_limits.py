"""Tiers as a client meets them: headers, refusals, the window; and that nothing of a request is kept."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx2
import pytest
import redis
from prometheus_client import generate_latest
from tests.conformance.http.conftest import Connect, Gate
from tests.conftest import KEY, Served
from tests.redis_server import RedisServer
from tests.redis_server import redis_server as redis_server
from tests.waiting import wait_for

from tessera.access.limits import MemoryLimiter
from tessera.access.redis_limits import RedisLimiter
from tessera.access.tiers import Tier
from tessera.core.budgets import TokenBudget
from tessera.engine.scripted.engine import saying
from tessera.formats.qwen3 import QWEN3
from tessera.observe.metrics import Metrics

TINY = Tier("tiny", 3, 4, 300, 10, 2, 7)
NAMES = [f"x-ratelimit-{name}-requests" for name in ("limit", "remaining", "reset")]
HEADERS = {"Authorization": f"Bearer {KEY}"}


def asked(served: Served, text: str = "Hi", **fields: Any) -> httpx2.Response:
    body = {"messages": [{"role": "user", "content": text}], "max_tokens": 3, **fields}
    url = f"{served.url}/v1/chat/completions"
    return httpx2.post(url, json=body, headers=HEADERS, trust_env=False, timeout=60)


def got(served: Served, path: str, method: str = "GET", key: str = KEY) -> httpx2.Response:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx2.request(method, served.url + path, headers=headers, trust_env=False, timeout=60)


def standing(response: httpx2.Response) -> list[int]:
    return [int(response.headers[name]) for name in NAMES]


def code(response: httpx2.Response) -> str:
    return response.json()["error"]["code"]


def test_every_response_to_a_valid_key_says_where_the_account_stands(serve: Callable[..., Served]) -> None:
    served = serve(tier=TINY)
    quiet = [
        (got(served, "/v1/models"), 200),
        (got(served, "/v1/models/alias"), 200),
        (got(served, "/v1/models/none"), 404),
        (got(served, "/v1/nothing"), 404),
        (got(served, "/v1/chat/completions", "PUT"), 405),
        (got(served, "/v1/chat/completions", "POST"), 415),
        (asked(served, n=99), 400),
        (asked(served, model="none"), 404),
    ]
    for response, status in quiet:
        assert (response.status_code, standing(response)) == (status, [3, 3, 0])
    first = asked(served)
    assert (first.status_code, standing(first)) == (200, [3, 2, 60])
    streamed = asked(served, stream=True)
    assert (streamed.status_code, standing(streamed)[:2]) == (200, [3, 1])
    too_long = asked(served, "word " * 400)
    assert (too_long.status_code, standing(too_long)[:2]) == (413, [3, 1])
    unknown = asked(served, logit_bias={"99999999": 1}, stream=True)
    assert (unknown.status_code, standing(unknown)[:2]) == (400, [3, 1])
    assert standing(asked(served))[:2] == [3, 0]
    burst = asked(served)
    assert (burst.status_code, standing(burst)[:2]) == (200, [3, 0])
    refused = asked(served)
    assert (refused.status_code, code(refused), standing(refused)[:2]) == (429, "rate_limit_exceeded", [3, 0])
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert "x-should-retry" not in refused.headers
    assert "3 requests a minute" in refused.json()["error"]["message"]
    assert standing(got(served, "/v1/models"))[:2] == [3, 0]
    for path, key in (("/healthz", KEY), ("/v1/models", "sk-tessera-wrong-key")):
        assert not set(NAMES) & set(got(served, path, key=key).headers)


def test_engine_errors_say_it_too(serve: Callable[..., Served]) -> None:
    served = serve(tier=TINY)
    served.in_flight.drain()
    response = asked(served)
    assert (response.status_code, standing(response)) == (503, [3, 3, 0])


def test_one_too_many_at_once_is_429_and_counts_for_nothing(
    serve: Callable[..., Served], connect: Connect, gate: Callable[[int], Gate]
) -> None:
    hold = gate(1)
    served = serve(tier=TINY, timing=hold)
    running = [connect(served) for _ in range(2)]
    for raw in running:
        raw.ask(stream=True, max_tokens=3)
        raw.read_until(b'"content":')
    refused = asked(served)
    assert (refused.status_code, code(refused)) == (429, "concurrency_limit_exceeded")
    assert refused.headers["retry-after"] == "1"
    assert standing(refused)[:2] == [3, 1]
    hold.opened.set()
    for raw in running:
        raw.read_until(b"[DONE]")
    assert asked(served).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_whoever_has_a_whole_reply_may_ask_the_next_at_once(
    serve: Callable[..., Served], stream: bool
) -> None:
    served = serve(tier=replace(TINY, sustained_rpm=1000, burst_rpm=1000, concurrency=1))
    with httpx2.Client(base_url=served.url, headers=HEADERS, trust_env=False, timeout=60) as client:
        body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1, "stream": stream}
        statuses = {client.post("/v1/chat/completions", json=body).status_code for _ in range(100)}
    assert statuses == {200}


def test_thinking_ends_with_the_day_s_tokens_and_direct_goes_on(serve: Callable[..., Served]) -> None:
    served = serve(tier=replace(TINY, sustained_rpm=50, burst_rpm=50), chat_format=QWEN3)
    served.engine.script = saying(served.tokenizer, "one two three four five six seven</think>Yes.")
    thinking = {"chat_template_kwargs": {"enable_thinking": True}, "max_tokens": 60}
    n_tokens = 0
    while (response := asked(served, **thinking)).status_code == 200:
        assert n_tokens < 10
        n_tokens += response.json()["usage"]["completion_tokens_details"]["reasoning_tokens"]
    assert n_tokens >= 10
    assert (response.status_code, code(response)) == (429, "thinking_quota_exceeded")
    assert int(response.headers["retry-after"]) <= 86_400
    assert "enable_thinking" in response.json()["error"]["message"]
    assert asked(served).status_code == 200


def test_a_budget_that_is_used_up_is_429_until_it_begins_anew(serve: Callable[..., Served]) -> None:
    budgets = (TokenBudget("completion_tokens_per_day", 5), TokenBudget("total_tokens_per_month", 10**6))
    served = serve(tier=replace(TINY, sustained_rpm=50, burst_rpm=50, budgets=budgets))
    assert [asked(served).status_code for _ in range(2)] == [200, 200]
    refused = asked(served)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (429, "quota_exceeded")
    assert (error["type"], error["param"]) == ("rate_limit_error", "completion_tokens_per_day")
    assert re.search(r"5 tokens of completion a day.* \d{4}-\d\d-\d\d 00:00 UTC", error["message"])
    assert 1 <= int(refused.headers["retry-after"]) <= 86_400
    assert (refused.headers.get("x-should-retry"), standing(refused)[1]) in (("false", 48), (None, 48))
    shown = generate_latest(served.metrics.registry)
    assert b'tessera_requests_refused_total{kind="budget",tier="tiny"} 1.0' in shown
    assert got(served, "/v1/models").status_code == 200


def test_the_window_is_the_smaller_one_of_model_and_tier(serve: Callable[..., Served]) -> None:
    served = serve(tier=TINY, context_tokens=1000)
    for card in (got(served, "/v1/models").json()["data"][0], got(served, "/v1/models/alias").json()):
        assert card["context_length"] == card["max_model_len"] == 300
    n_prompt = asked(served, "word " * 20).json()["usage"]["prompt_tokens"]
    refused = asked(served, "word " * 500)
    assert (refused.status_code, code(refused)) == (413, "context_length_exceeded")
    assert " 300 tokens" in refused.json()["error"]["message"]
    assert served.engine.n_running + served.engine.n_finished == 1
    served.engine.script = saying(served.tokenizer, "word " * 1000)
    clipped = asked(served, "word " * 20, max_tokens=900)
    assert clipped.json()["choices"][0]["finish_reason"] == "length"
    assert clipped.json()["usage"]["completion_tokens"] == 300 - n_prompt


def test_a_key_for_other_models_is_403_and_sees_only_its_own(serve: Callable[..., Served]) -> None:
    served = serve(tier=TINY, models=frozenset({"other"}))
    refused = asked(served)
    assert (refused.status_code, code(refused)) == (403, "permission_denied")
    assert refused.headers["x-should-retry"] == "false"
    assert standing(refused) == [3, 3, 0]
    assert got(served, "/v1/models").json()["data"] == []
    assert got(served, "/v1/models/alias").status_code == 403
    shown = generate_latest(served.metrics.registry)
    assert b'tessera_requests_refused_total{kind="permission",tier="tiny"} 2.0' in shown


def test_a_key_for_an_alias_may_use_the_model_by_all_its_names(serve: Callable[..., Served]) -> None:
    served = serve(tier=TINY, models=frozenset({"alias"}))
    assert asked(served).status_code == 200
    assert len(got(served, "/v1/models").json()["data"]) == 2


async def slow(step: int) -> None:
    await asyncio.sleep(0.002)


def vanish(served: Served, connect: Connect, n: int) -> None:
    """Runs clients that leave at different moments."""
    for i in range(n):
        raw = connect(served)
        if i % 4 == 0:
            raw.send(
                "POST /v1/chat/completions", b'{"mess', Content_Type="application/json", Content_Length="99"
            )
        else:
            raw.ask(stream=i % 4 > 1, max_tokens=50)
        if i % 4 == 3:
            raw.read_until(b"200")
        raw.socket.close()
    served.wait_until_idle()


MANY = replace(TINY, sustained_rpm=10**6, burst_rpm=10**6, concurrency=1000)


@pytest.mark.parametrize("n", [60, pytest.param(1000, marks=pytest.mark.full)])
def test_clients_that_vanish_leave_no_lease(serve: Callable[..., Served], connect: Connect, n: int) -> None:
    limiter = MemoryLimiter()
    served = serve(tier=MANY, limiter=limiter, timing=slow)
    vanish(served, connect, n)
    assert limiter.n_running == 0
    assert got(served, "/v1/models").status_code == 200


@pytest.mark.parametrize("n", [60, pytest.param(1000, marks=pytest.mark.full)])
def test_clients_that_vanish_leave_no_lease_in_redis(
    serve: Callable[..., Served], connect: Connect, redis_server: RedisServer, n: int
) -> None:
    metrics = Metrics()
    # Redis is as slow as the machine is busy, which is not to be taken for a Redis that does not answer.
    limiter = RedisLimiter(redis_server.url, 1, metrics, answer_s=30)
    served = serve(tier=MANY, limiter=limiter, timing=slow)
    vanish(served, connect, n)
    with redis.Redis.from_url(redis_server.url) as watch:
        wait_for(lambda: not watch.zcard("tessera:{operator}:leases"))
        assert watch.zcard("tessera:{operator}:accepted") > n / 4
        watch.flushall()
    assert metrics.registry.get_sample_value("tessera_limiter_fallback") == 0
