"""A day of an operator, by commands alone: customers, limits, a budget, usage, keys, the store."""

import csv
import io
import json
import shutil
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.conformance.cli.test_accounts import result, run
from tests.serving import Server, ask, environment, free_port, service, start
from tests.waiting import wait_for
from tests.webhook_receiver import SECRET, receiving

__all__ = ["environment", "result", "run", "service", "start"]

Result = Callable[..., Any]
Run = Callable[..., tuple[int, str, str]]

OPTIONS = ("--scripted-tokens-per-s", 50, "--key-cache-s", 0.5, "--log-format", "json")
N_TOKENS = 5  # of each reply
N_TOKENS_LONG = 25_000  # which takes minutes
ADMIN_KEY = "admin-" + "k" * 40


def asked(server: Server, secret: str, n_tokens: int = N_TOKENS) -> httpx2.Response:
    headers = {"Authorization": f"Bearer {secret}"}
    url = f"{server.url}/v1/chat/completions"
    return httpx2.post(url, json=ask(max_tokens=n_tokens), headers=headers, timeout=600)


def outcome(server: Server, secret: str) -> tuple[int, str | None]:
    reply = asked(server, secret)
    return reply.status_code, reply.json().get("error", {}).get("code")


def sustained_rpm(server: Server, secret: str) -> int:
    headers = {"Authorization": f"Bearer {secret}"}
    reply = httpx2.get(f"{server.url}/v1/models", headers=headers, timeout=60)
    return int(reply.headers["x-ratelimit-limit-requests"])


def move_to_last_month(path: Path) -> tuple[str, str]:
    """Moves all usage of today to a day of the last month; returns the first and the last day of
    that month.
    """
    last = datetime.now(UTC).replace(day=1) - timedelta(days=1)
    day = last.replace(day=15)
    with closing(sqlite3.connect(path)) as store, store:
        store.execute("UPDATE usage SET day = ?, begun_s = ?", [f"{day:%Y-%m-%d}", day.timestamp()])
    return f"{last:%Y-%m}-01", f"{last:%Y-%m-%d}"


def test_the_day(
    service: Callable[..., Server],
    result: Result,
    run: Run,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    store = Path(environment["TESSERA_DATABASE_URL"].removeprefix("sqlite:///"))
    with receiving(n_refusals=1) as webhook:
        # Customers and their keys.
        acme = result("accounts", "create", "acme", "--tier", "lite")
        globex = result("accounts", "create", "globex", "--tier", "pro", "--limit", "concurrency=8")
        key = result("keys", "create", "acme", "--name", "first")
        other = result("keys", "create", "globex", "--name", "only")["secret"]
        admin_port = free_port()
        server = service(
            *OPTIONS,
            *("--admin-port", admin_port, "--budget-webhook-url", webhook.url),
            TESSERA_ADMIN_KEY=ADMIN_KEY,
            TESSERA_BUDGET_WEBHOOK_SECRET=SECRET,
            TESSERA_TIERS="{trial = {sustained_rpm = 5, burst_rpm = 5, context_tokens = 100, "
            "thinking_tokens_per_day = 0, concurrency = 1, priority = 0}}",
        )
        for secret, n in ((key["secret"], 3), (other, 2)):
            for _ in range(n):
                assert outcome(server, secret) == (200, None)

        # What they used in the last month, as CSV.
        since, until = move_to_last_month(store)
        options = ("--since", since, "--until", until, "--by", "account", "--by", "model", "--format", "csv")
        code, shown, _ = run("usage", *options)
        assert code == 0
        rows = {row["account"]: row for row in csv.DictReader(io.StringIO(shown))}
        assert {name: row["requests"] for name, row in rows.items()} == {"acme": "3", "globex": "2"}
        assert rows["acme"]["model"] == "tessera/scripted"
        assert rows["acme"]["completion_tokens"] == str(3 * N_TOKENS)

        # A request that runs is seen and cancelled, which is on record.
        admin = {"TESSERA_ADMIN_KEY": ADMIN_KEY, "TESSERA_ADMIN_PORT": str(admin_port)}
        assert result("requests", "list", **admin) == []
        with ThreadPoolExecutor(1) as thread:
            long = thread.submit(asked, server, other, N_TOKENS_LONG)
            wait_for(
                lambda: [each["step"] for each in result("requests", "list", **admin)] == ["first_token"]
            )
            (running,) = result("requests", "list", **admin)
            assert (running["account"], running["client"]) == (globex["id"], "127.0.0.1")
            (ended,) = result("requests", "cancel", running["id"], **admin)
            assert ended["id"] == running["id"]
            assert long.result().json()["error"]["code"] == "request_cancelled"
        wait_for(lambda: result("requests", "list", **admin) == [])
        cancelled = result("audit", "--account", "globex")[0]
        assert (cancelled["action"], cancelled["detail"]["id"]) == ("request.cancel", running["id"])

        # A customer is capped while the server runs, and nobody else.
        assert outcome(server, key["secret"]) == (200, None)
        limits = {"sustained_rpm": 49, "completion_tokens_per_day": 12}
        capped = result("accounts", "set-limits", "acme", *(f"{name}={n}" for name, n in limits.items()))
        assert capped["limits"] == limits
        wait_for(lambda: sustained_rpm(server, key["secret"]) == 49)
        outcomes = [outcome(server, key["secret"]) for _ in range(3)]
        assert outcomes == [(200, None), (200, None), (429, "quota_exceeded")]
        (budget,) = result("accounts", "budgets", "acme")
        assert (budget["used_tokens"], budget["limit_tokens"]) == (3 * N_TOKENS, 12)
        refused = asked(server, key["secret"])
        error = refused.json()["error"]
        assert (error["code"], error["param"]) == ("quota_exceeded", "completion_tokens_per_day")
        resets_s = datetime.fromtimestamp(budget["resets_s"], UTC)
        assert f"{resets_s:%Y-%m-%d %H:%M} UTC" in error["message"]
        assert int(refused.headers["retry-after"]) <= 86_400
        assert refused.headers["x-should-retry"] == "false"
        assert outcome(server, other) == (200, None)

        # The operator hears of it, once for each threshold, although the receiver was away at first.
        wait_for(lambda: len(webhook.messages) >= 2)
        heard = [(each["threshold_percent"], each["account"], each["budget"]) for each in webhook.messages]
        assert heard == [(percent, "acme", "completion_tokens_per_day") for percent in (80, 100)]
        assert len(webhook.refused) == 1
        assert all(each["used_tokens"] >= 2 * N_TOKENS for each in webhook.messages)
        metrics = httpx2.get(f"http://127.0.0.1:{admin_port}/metrics").text
        assert 'tessera_budget_warnings_total{percent="100"} 1.0' in metrics

        # The budget holds after a restart, and ends when it is lifted.
        code, log = server.stop()
        assert code == 0
        warned = [json.loads(line) for line in log.splitlines() if '"budget warning"' in line]
        assert [each["threshold_percent"] for each in warned] == [80, 100]
        server = service(*OPTIONS, "--budget-webhook-url", webhook.url, TESSERA_BUDGET_WEBHOOK_SECRET=SECRET)
        assert outcome(server, key["secret"]) == (429, "quota_exceeded")
        result("accounts", "set-limits", "acme", "completion_tokens_per_day=tier")
        wait_for(lambda: outcome(server, key["secret"]) == (200, None))
        assert len(webhook.messages) == 2

        # A tier that the running server does not know is refused; `trial` was one of the former server.
        code, _, said = run("accounts", "set-tier", "acme", "trial")
        assert code == 1
        assert "running server" in said
        assert result("accounts", "show", "acme")["tier"] == "lite"

        # A key is rotated.
        new = result("keys", "create", "acme", "--name", "second")
        assert outcome(server, new["secret"]) == (200, None)
        result("keys", "revoke", key["id"])
        wait_for(lambda: outcome(server, key["secret"]) == (401, "invalid_api_key"))
        assert outcome(server, new["secret"]) == (200, None)

        # The store is backed up while the server runs, and restored elsewhere.
        copy = tmp_path / "elsewhere/tessera.db"
        copy.parent.mkdir()
        assert run("store", "backup", copy)[0] == 0
        elsewhere = {"TESSERA_DATABASE_URL": f"sqlite:///{copy}"}
        code, _, said = run("keys", "list", **elsewhere)
        assert code == 2
        assert "pepper" in said
        shutil.copy(f"{store}.pepper", f"{copy}.pepper")
        restored = service(*OPTIONS, **elsewhere)
        assert outcome(restored, new["secret"]) == (200, None)
        assert restored.stop()[0] == 0
        assert result("keys", "list", **elsewhere)[0]["id"] == key["id"]

        # A customer leaves. Its usage is kept, without a name.
        assert run("accounts", "delete", "acme")[0] == 2  # what becomes of the usage must be said
        result("accounts", "delete", "acme", "--usage", "keep")
        wait_for(lambda: outcome(server, new["secret"]) == (401, "invalid_api_key"))
        assert outcome(server, other) == (200, None)
        assert [each["name"] for each in result("accounts", "list")] == ["globex"]
        (kept,) = result("usage", "--account", acme["id"], "--by", "account", "--since", since)["rows"]
        assert kept["account"] == acme["id"]
        assert kept["requests"] > 3
        deletion = result("audit", "--account", acme["id"])[0]
        assert (deletion["action"], deletion["detail"]["usage"]) == ("account.delete", "kept")
        assert deletion["at_s"] == pytest.approx(time.time(), abs=600)
        assert server.stop()[0] == 0
