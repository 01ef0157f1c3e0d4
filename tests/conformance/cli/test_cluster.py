"""Two servers of two API processes each, on one PostgreSQL and one Redis: they are as one."""

import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from tests.load import load
from tests.postgres import Postgres
from tests.redis_server import RedisServer
from tests.redis_server import redis_server as redis_server
from tests.serving import TESSERA, Server, Start, announced, ask, starting
from tests.waiting import wait_for

from tessera.store.database import open_database
from tessera.store.migration import differences

KEY_CACHE_S = 0.5
TIERS = "{lite = {sustained_rpm = 9, burst_rpm = 12}, pro = {sustained_rpm = 1000, burst_rpm = 1000}}"
Commands = Callable[..., Any]


@pytest.fixture
def shared(postgres: Postgres, redis_server: RedisServer) -> dict[str, str]:
    """The settings with which servers share accounts and limits."""
    return {
        "TESSERA_DATABASE_URL": postgres.create("cluster"),
        "TESSERA_PEPPER": "p" * 32,
        "TESSERA_REDIS_URL": redis_server.create(),
        "TESSERA_KEY_CACHE_S": str(KEY_CACHE_S),
        "TESSERA_TIERS": TIERS,
        "TESSERA_LOG_LEVEL": "warning",
    }


@pytest.fixture
def command(environment: dict[str, str], shared: dict[str, str]) -> Commands:
    """Runs a command; returns what it prints as JSON."""

    def run(*words: str) -> Any:
        env = {**environment, **shared}
        said = subprocess.run([TESSERA, *words, "--json"], env=env, capture_output=True, check=True)
        return json.loads(said.stdout)

    return run


def connecting(key: str) -> httpx2.Client:
    """A client that connects for every request."""
    return httpx2.Client(
        headers={"Authorization": f"Bearer {key}"},
        limits=httpx2.Limits(max_keepalive_connections=0),
        timeout=300,
    )


def everywhere(servers: list[Server], key: str, n: int = 24) -> Counter[tuple[int, str | None]]:
    """Counts the statuses and limits that many connections get, and so, almost surely, every process."""
    met = Counter[tuple[int, str | None]]()
    with connecting(key) as http:
        for number in range(n):
            reply = http.get(f"{servers[number % len(servers)].url}/v1/models")
            met[reply.status_code, reply.headers.get("x-ratelimit-limit-requests")] += 1
    return met


def statuses(servers: list[Server], key: str, n: int) -> Counter[int]:
    """Counts the statuses of requests that each have a connection of their own."""
    with connecting(key) as http:
        urls = [f"{servers[number % len(servers)].url}/v1/chat/completions" for number in range(n)]
        return Counter(http.post(url, json=ask()).status_code for url in urls)


def test_two_servers_on_one_store_are_as_one(start: Start, shared: dict[str, str], command: Commands) -> None:
    pace = ("--workers", 2, "--scripted-tokens-per-s", 1000)
    upgrading = start("store", "upgrade", **shared)
    starts = [starting(start, *pace, **shared) for _ in range(2)]
    servers = [announced(each) for each in starts]
    assert upgrading.wait(300) == 0
    store = open_database(shared["TESSERA_DATABASE_URL"])
    assert differences(store) == []
    store.dispose()

    command("accounts", "create", "acme", "--tier", "lite")
    first, second = (command("keys", "create", "acme", "--name", name) for name in ("dev", "ops"))
    assert everywhere(servers, first["secret"]) == {(200, "9"): 24}
    assert statuses(servers, first["secret"], 30) == {200: 12, 429: 18}
    assert statuses(servers, second["secret"], 4) == {429: 4}, "the account's limits, not the key's"

    command("accounts", "set-tier", "acme", "pro")
    time.sleep(KEY_CACHE_S)
    assert everywhere(servers, first["secret"]) == {(200, "1000"): 24}
    with load(*(server.url for server in servers), key=first["secret"], n=4) as clients:
        wait_for(lambda: clients.n_told > 80)
    assert set(clients.seen) == {(200, None)}

    command("keys", "revoke", first["id"])
    time.sleep(KEY_CACHE_S)
    assert everywhere(servers, first["secret"]) == {(401, None): 24}

    asked = command("usage", "--account", "acme")["totals"]
    told = clients.told.values()
    assert (asked["requests"], asked["failed"]) == (len(told) + 12, 0)
    n_completion = sum(n for _, n in told) + 12 * 5
    assert asked["completion_tokens"] == n_completion
    assert asked["prompt_tokens"] == sum(n for n, _ in told) + 12 * next(n for n, _ in told)
    for server in servers:
        with connecting(second["secret"]) as http:
            assert http.get(f"{server.url}/v1/usage").json()["totals"] == asked
    for server in servers:
        code, log = server.stop()
        assert code == 0
        assert {json.loads(line)["event"] for line in log.splitlines()} <= {"key refused"}
