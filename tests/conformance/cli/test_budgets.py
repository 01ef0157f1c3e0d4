"""Budgets and limits of accounts in a real `tessera serve`, with several processes."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from tests.conformance.cli.test_accounts import result, run, status
from tests.redis_server import RedisServer
from tests.redis_server import redis_server as redis_server
from tests.serving import Server, Start, ask, starting
from tests.waiting import wait_for

__all__ = ["result", "run"]

Result = Callable[..., Any]
Run = Callable[..., tuple[int, str, str]]
Serve = Callable[..., Server]

QUICK = ("--scripted-tokens-per-s", 10_000, "--key-cache-s", 0.5)
EXHAUSTED = (429, "quota_exceeded")


def ended(server: Server, secret: str, n: int) -> Counter[tuple[int, str | None]]:
    """Counts the outcomes of `n` requests of five tokens, each on a connection of its own."""
    return Counter(status(server, secret) for _ in range(n))


@pytest.mark.parametrize("counting", ["shares", "redis"])
def test_processes_keep_to_a_budget_together_and_after_a_restart(
    service: Serve, result: Result, redis_server: RedisServer, counting: str
) -> None:
    variables = {"TESSERA_REDIS_URL": redis_server.create()} if counting == "redis" else {}
    limit = "completion_tokens_per_day=100"
    result("accounts", "create", "acme", "--tier", "enterprise", "--limit", limit)
    secret = result("keys", "create", "acme", "--name", "k")["secret"]
    server = service("--workers", 4, *QUICK, **variables)
    seen = ended(server, secret, 60)
    assert seen.keys() == {(200, None), EXHAUSTED}
    if counting == "redis":
        assert seen[(200, None)] == 20
    else:
        assert 5 <= seen[(200, None)] <= 20
    (budget,) = result("accounts", "budgets", "acme")
    used = budget["used_tokens"]
    assert used == 5 * seen[(200, None)]
    (shown,) = own_budgets(server, secret)
    assert shown == {name: budget[name] for name in shown}
    assert server.stop()[0] == 0
    again = service("--workers", 4, *QUICK, **variables)
    more = ended(again, secret, 60)
    assert more[(200, None)] * 5 + used <= 100
    assert more[EXHAUSTED] > 0


def own_budgets(server: Server, secret: str) -> list[dict[str, Any]]:
    headers = {"Authorization": f"Bearer {secret}"}
    reply = httpx2.get(f"{server.url}/v1/usage", headers=headers, timeout=60)
    return reply.raise_for_status().json()["budgets"]


def test_what_a_key_may_spend_is_less_than_its_account(service: Serve, result: Result) -> None:
    result("accounts", "create", "acme", "--tier", "pro")
    server = service(*QUICK)
    budget = ("--budget", "completion_tokens_per_month=10", "--budget", "prompt_tokens_per_day=1000000")
    small = result("keys", "create", "acme", "--name", "small", *budget)
    other = result("keys", "create", "acme", "--name", "other")["secret"]
    assert [status(server, small["secret"]) for _ in range(3)] == [(200, None), (200, None), EXHAUSTED]
    assert status(server, other) == (200, None)
    # The holder of the key sees its budgets, and those of the account alone with another key.
    shown = {each["budget"]: each for each in own_budgets(server, small["secret"])}
    month = shown["completion_tokens_per_month"]
    assert (month["used_tokens"], month["limit_tokens"], month["key_id"]) == (10, 10, small["id"])
    assert shown["prompt_tokens_per_day"]["limit_tokens"] == 1_000_000
    assert own_budgets(server, other) == []
    changed = result("keys", "update", small["id"], "--budget", "completion_tokens_per_month=none")
    assert changed["budgets"] == {"prompt_tokens_per_day": 1000000}
    wait_for(lambda: status(server, small["secret"]) == (200, None))


def test_a_tier_may_have_budgets_and_an_account_none(service: Serve, result: Result) -> None:
    tiers = {"TESSERA_TIERS": "{lite = {total_tokens_per_day = 1}}"}
    result("accounts", "create", "acme", "--tier", "lite", **tiers)
    secret = result("keys", "create", "acme", "--name", "k")["secret"]
    server = service(*QUICK, **tiers)
    assert [status(server, secret) for _ in range(2)] == [(200, None), EXHAUSTED]
    result("accounts", "set-limits", "acme", "total_tokens_per_day=unlimited", **tiers)
    wait_for(lambda: status(server, secret) == (200, None))


def test_the_limits_of_an_account_act_while_the_server_runs(service: Serve, result: Result) -> None:
    result("accounts", "create", "acme", "--tier", "lite")
    secret = result("keys", "create", "acme", "--name", "k")["secret"]
    server = service("--workers", 1, *QUICK)
    headers = {"Authorization": f"Bearer {secret}"}

    def shown(path: str) -> httpx2.Response:
        return httpx2.get(server.url + path, headers=headers, timeout=60)

    def context() -> int:
        return shown("/v1/models").json()["data"][0]["context_length"]

    def rate() -> str:
        return shown("/v1/models").headers["x-ratelimit-limit-requests"]

    assert (context() > 200, rate()) == (True, "50")
    result("accounts", "set-limits", "acme", "context_tokens=200", "sustained_rpm=7", "burst_rpm=7")
    wait_for(lambda: (context(), rate()) == (200, "7"))
    result("accounts", "set-limits", "acme", "concurrency=2")
    wait_for(lambda: _choices(server, headers, 3) == (429, "concurrency_limit_exceeded"))
    result("accounts", "set-limits", "acme", *(f"{name}=tier" for name in ("context_tokens", "concurrency")))
    wait_for(lambda: context() > 200)
    actions = [(each["action"], each["detail"]) for each in result("audit", "--account", "acme")]
    (latest, _, first, *_) = [detail for action, detail in actions if action == "account.set-limits"]
    assert latest["limits"] == {"sustained_rpm": 7, "burst_rpm": 7}
    assert first["before"] == {}


def _choices(server: Server, headers: dict[str, str], n: int) -> tuple[int, str | None]:
    url = f"{server.url}/v1/chat/completions"
    reply = httpx2.post(url, json=ask(n=n), headers=headers, timeout=60)
    return reply.status_code, reply.json().get("error", {}).get("code")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("concurency=2",), "concurency is not a field of a tier"),
        (("concurrency=many",), "concurrency is 'many'"),
        (("concurrency=unlimited",), "concurrency is 'unlimited'"),
        (("concurrency=0",), "concurrency is 0"),
        (("concurrency",), "NAME=VALUE"),
        (("=1",), "NAME=VALUE"),
        (("sustained_rpm=500",), "burst_rpm would be 100, less than sustained_rpm, 500"),
        (("burst_rpm=5",), "burst_rpm would be 5, less than sustained_rpm, 50"),
        (("total_tokens_per_day=-1",), "total_tokens_per_day is '-1'"),
        (("total_tokens_per_day=9999999999999999999999",), "total_tokens_per_day is '9999"),
        (("total_tokens_per_year=5",), "total_tokens_per_month"),
    ],
)
def test_a_limit_that_cannot_be_is_named(
    run: Run, result: Result, arguments: tuple[str, ...], named: str
) -> None:
    result("accounts", "create", "acme", "--tier", "lite")
    code, _, said = run("accounts", "set-limits", "acme", *arguments)
    assert code == 1
    assert named in said
    assert run("accounts", "create", "other", "--tier", "lite", "--limit", arguments[0])[0] == 1
    assert [each["limits"] for each in result("accounts", "list")] == [{}]


@pytest.mark.parametrize(
    "budget", ["total_tokens=5", "total_tokens_per_day=x", "total_tokens_per_day=unlimited"]
)
def test_a_budget_that_cannot_be_is_named(run: Run, result: Result, budget: str) -> None:
    result("accounts", "create", "acme", "--tier", "lite")
    code, _, said = run("keys", "create", "acme", "--name", "k", "--budget", budget)
    assert code == 1
    assert "total_tokens" in said
    assert result("keys", "list") == []


def test_a_tier_must_be_known_to_the_running_servers(service: Serve, run: Run, result: Result) -> None:
    """The command may be without their settings; and with none running, its own count."""
    fields = "sustained_rpm = 5, burst_rpm = 5, context_tokens = 100, concurrency = 1, priority = 0"
    gold = f"{{gold = {{{fields}, thinking_tokens_per_day = 0}}}}"
    assert run("accounts", "create", "acme", "--tier", "gold")[0] == 1
    server = service("--workers", 2, *QUICK, TESSERA_TIERS=gold)
    wait_for(lambda: run("accounts", "create", "acme", "--tier", "gold")[0] == 0)
    secret = result("keys", "create", "acme", "--name", "k")["secret"]
    assert status(server, secret) == (200, None)
    code, _, said = run(
        "accounts", "set-tier", "acme", "silver", TESSERA_TIERS=gold.replace("gold", "silver")
    )
    assert code == 1
    assert "lite, pro, scale, enterprise, operator, gold" in said
    assert server.stop()[0] == 0
    plain = service("--log-format", "json", *QUICK)
    assert status(plain, secret) == (403, "permission_denied")
    _, log = plain.stop()
    unknown = [json.loads(line) for line in log.splitlines() if "tier not configured" in line]
    assert unknown[0]["tier"] == "gold"


def test_half_a_webhook_stops_the_start(start: Start) -> None:
    process = starting(start, "--budget-webhook-url", "http://127.0.0.1:1/")
    _, said = process.communicate(timeout=300)
    assert process.returncode == 2
    assert "TESSERA_BUDGET_WEBHOOK_SECRET" in said


@pytest.mark.parametrize("usage", ["keep", "erase"])
def test_a_deleted_account_leaves_what_was_asked(
    service: Serve, run: Run, result: Result, usage: str
) -> None:
    account = result("accounts", "create", "acme", "--tier", "lite")
    key = result("keys", "create", "acme", "--name", "k")
    server = service(*QUICK)
    assert status(server, key["secret"]) == (200, None)
    assert server.stop()[0] == 0
    assert result("accounts", "delete", "acme", "--usage", usage) == account
    assert result("accounts", "list") == result("keys", "list") == []
    assert run("accounts", "show", account["id"])[0] == 1
    assert run("keys", "show", key["id"])[0] == 1
    rows = result("usage", "--by", "account")["rows"]
    assert [row["account"] for row in rows] == ([account["id"]] if usage == "keep" else [])
    assert result("audit")[0]["detail"]["keys"] == [key["id"]]
    assert status(service(*QUICK), key["secret"]) == (401, "invalid_api_key")
    # The name is free again, for another account.
    assert result("accounts", "create", "acme", "--tier", "lite")["id"] != account["id"]
    assert result("usage", "--account", "acme")["rows"] == []
