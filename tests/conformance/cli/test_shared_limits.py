"""Several API processes and one account: what all of them give together."""

from collections import Counter
from collections.abc import Callable

import httpx2
import pytest
from tests.redis_server import RedisServer
from tests.redis_server import redis_server as redis_server
from tests.serving import Server, Start, ask

KEY = "sk-tessera-" + "q" * 40
TIERS = "{operator = {sustained_rpm = 9, burst_rpm = 12, concurrency = 512, context_tokens = 100}}"


def statuses(server: Server, n: int) -> Counter[int]:
    """Counts the statuses of requests that each have a connection of their own, and so reach every
    process.
    """
    seen = Counter[int]()
    for _ in range(n):
        reply = httpx2.post(
            f"{server.url}/v1/chat/completions", json=ask(), headers=server.headers, timeout=60
        )
        assert reply.headers["x-ratelimit-limit-requests"]
        seen[reply.status_code] += 1
    return seen


def test_with_redis_they_give_the_tier_and_no_more(
    service: Callable[..., Server], redis_server: RedisServer
) -> None:
    url = redis_server.url
    server = service("--workers", 4, TESSERA_API_KEY=KEY, TESSERA_TIERS=TIERS, TESSERA_REDIS_URL=url)
    for _ in range(16):  # each process has met Redis before it counts
        reply = httpx2.get(f"{server.url}/v1/models", headers=server.headers, timeout=60)
        assert reply.json()["data"][0]["context_length"] == 100
    with server.client() as client:  # one connection is one process, which alone would give 3
        seen = Counter(client.post("/v1/chat/completions", json=ask()).status_code for _ in range(10))
    assert seen == {200: 10}
    assert statuses(server, 20) == {200: 2, 429: 18}


def test_without_it_they_give_no_more(service: Callable[..., Server]) -> None:
    server = service("--workers", 4, TESSERA_API_KEY=KEY, TESSERA_TIERS=TIERS)
    seen = statuses(server, 30)
    assert 3 <= seen[200] <= 12
    assert seen.keys() == {200, 429}


@pytest.mark.parametrize("tiers", ["{operator = {concurency = 3}}"])
def test_a_wrong_tier_stops_the_start(start: Start, tiers: str) -> None:
    process = start("serve", "--engine", "scripted", "--port", "0", TESSERA_TIERS=tiers)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 2
    assert "tiers." in said


@pytest.mark.parametrize("n_workers", [1, 2])
def test_a_redis_url_that_cannot_be_stops_the_start(start: Start, n_workers: int) -> None:
    url = "redis://user:secret@127.0.0.1:6379/0?ssl=true"
    process = start(
        *("serve", "--engine", "scripted", "--port", "0", "--workers", n_workers), TESSERA_REDIS_URL=url
    )
    _, said = process.communicate(timeout=300)
    assert process.returncode == 2
    assert "TESSERA_REDIS_URL, or an option in it, cannot be read" in said
    assert "secret" not in said
    assert "Traceback" not in said
