"""An operator sees who uses a running server, and can end it, over all of its API processes."""

import json
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest
from click.testing import CliRunner, Result
from tests.serving import Server, ask, free_port
from tests.waiting import wait_for

from tessera.cli.main import main

Serve = Callable[..., Server]

ADMIN_KEY = "admin-" + "k" * 40
SLOW = ("--scripted-tokens-per-s", 0.5, "--deadline-s", 7200)
"""A reply takes half an hour: it does not end by itself while the test looks at it."""


class Sent:
    """A chat request that is sent from a thread of its own, and the whole answer."""

    def __init__(self, server: Server, **fields: Any) -> None:
        self.status, self.text = 0, ""
        self._server, self._fields = server, fields
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        body = ask(max_tokens=100_000, **self._fields)
        with self._server.client() as client:
            reply = client.post("/v1/chat/completions", json=body, timeout=600)
        self.status, self.text = reply.status_code, reply.text

    def error(self) -> dict[str, Any]:
        self._thread.join(300)
        last = self.text.strip().rpartition("\n")[2].removeprefix("data: ")
        return json.loads(last)["error"]


class Operator:
    """The commands of `tessera requests` against one server."""

    def __init__(self, environment: dict[str, str], port: int) -> None:
        self._environment = {**environment, "TESSERA_ADMIN_KEY": ADMIN_KEY}
        self.url = f"http://127.0.0.1:{port}"

    def run(self, *arguments: str, **variables: str) -> Result:
        return CliRunner(env={**self._environment, **variables}).invoke(main, ["requests", *arguments])

    def rows(self) -> list[dict[str, Any]]:
        ran = self.run("list", "--json", "--url", self.url)
        assert ran.exit_code == 0, ran.stderr
        return json.loads(ran.stdout)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_a_running_request_is_listed_and_cancelled_and_its_usage_is_on_record_once(
    service: Serve, environment: dict[str, str], workers: int, stream: bool
) -> None:
    port = free_port()
    server = service("--admin-port", port, "--workers", workers, *SLOW, TESSERA_ADMIN_KEY=ADMIN_KEY)
    operator = Operator(environment, port)
    sent = [Sent(server, stream=stream) for _ in range(4)]
    wait_for(lambda: [row["step"] for row in operator.rows()] == ["first_token"] * 4)
    rows = operator.rows()
    assert {(row["account"], row["key_id"], row["client"]) for row in rows} == {
        ("operator", f"operator-{server.key[-4:]}", "127.0.0.1")
    }
    first, by_request_id, *rest = rows
    for id in (first["id"], by_request_id["request_id"], *(row["id"] for row in rest)):
        ran = operator.run("cancel", id, "--json", "--url", f"{operator.url}/admin/")
        assert ran.exit_code == 0, ran.stderr
        assert len(json.loads(ran.stdout)) == 1
    audited = CliRunner(env=environment).invoke(main, ["audit", "--account", "operator", "--json"])
    changes = json.loads(audited.stdout)
    assert {(each["action"], each["subject"], each["actor"]) for each in changes} == {
        ("request.cancel", "operator", "admin:127.0.0.1")
    }
    assert sorted(each["detail"]["id"] for each in changes) == sorted(row["id"] for row in rows)
    assert {each["detail"]["model"] for each in changes} == {"tessera/scripted"}
    assert {each.error()["code"] for each in sent} == {"request_cancelled"}
    assert {each.status for each in sent} == {200 if stream else 403}
    wait_for(lambda: operator.rows() == [])
    code, log = server.stop()
    assert code == 0
    path = Path(environment["TESSERA_DATABASE_URL"].removeprefix("sqlite:///"))
    with closing(sqlite3.connect(path)) as store:
        recorded = store.execute("SELECT id, finish, completion_tokens FROM usage").fetchall()
    assert sorted(id for id, *_ in recorded) == sorted(row["id"] for row in rows)
    assert {finish for _, finish, _ in recorded} == {"request_cancelled"}
    assert all(n_tokens > 0 for *_, n_tokens in recorded)
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    ended = {line["trace_id"]: line for line in lines if line["event"] == "request"}
    assert set(ended) == {row["request_id"] for row in rows}
    for row in rows:
        line = ended[row["request_id"]]
        assert {name: line[name] for name in ("account", "key_id", "client")} == {
            name: row[name] for name in ("account", "key_id", "client")
        }
        assert line["outcome"] == "request_cancelled"
    assert [line["by"] for line in lines if line["event"] == "request cancelled"] == ["admin:127.0.0.1"] * 4


def test_what_cannot_be_done_is_said(service: Serve, environment: dict[str, str]) -> None:
    port = free_port()
    service("--admin-port", port, TESSERA_ADMIN_KEY=ADMIN_KEY)
    operator = Operator(environment, port)
    missing = operator.run("cancel", "chatcmpl-none", "--admin-port", str(port))
    assert (missing.exit_code, "No such request is running" in missing.stderr) == (2, True)
    assert "TESSERA_ADMIN_PORT" in operator.run("list").stderr
    assert "TESSERA_ADMIN_KEY" in operator.run("list", "--url", operator.url, TESSERA_ADMIN_KEY="").stderr
    wrong = operator.run("list", "--url", operator.url, TESSERA_ADMIN_KEY="x" * 40)
    assert (wrong.exit_code, "401" in wrong.stderr) == (2, True)
    nobody = operator.run("list", "--url", f"http://127.0.0.1:{free_port()}")
    assert (nobody.exit_code, "No admin API answers" in nobody.stderr) == (2, True)


FORWARDED = "203.0.113.7"


@pytest.mark.parametrize(
    ("trusted", "shown"),
    [((), "127.0.0.1"), (("127.0.0.0/8",), FORWARDED), (("10.0.0.1",), "127.0.0.1"), (("*",), FORWARDED)],
    ids=["nobody", "its network", "another", "anybody"],
)
def test_lines_of_the_log_have_the_address_that_a_trusted_proxy_forwards(
    service: Serve, trusted: tuple[str, ...], shown: str
) -> None:
    server = service(*(part for each in trusted for part in ("--forwarded-allow-ips", each)))
    with server.client() as client:
        forwarded = {"X-Forwarded-For": FORWARDED}
        assert client.post("/v1/chat/completions", json=ask(), headers=forwarded).status_code == 200
        # What is no address may be anything that a client has written.
        hostile = {"X-Forwarded-For": "sk-tessera-secret"}
        assert client.post("/v1/chat/completions", json=ask(), headers=hostile).status_code == 200
        for wrong in ("Bearer wrong-wrong-wrong", "Basic x"):
            headers = {**forwarded, "Authorization": wrong}
            assert httpx2.get(f"{server.url}/v1/models", headers=headers, timeout=60).status_code == 401
    _, log = server.stop()
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    hidden = "unknown" if shown == FORWARDED else shown
    assert [line["client"] for line in lines if line["event"] == "request"] == [shown, hidden]
    refused = [(line["client"], line["code"]) for line in lines if line["event"] == "key refused"]
    assert refused == [(shown, "invalid_api_key"), (shown, "missing_api_key")]
    assert "sk-tessera-secret" not in log


def test_a_flood_of_wrong_keys_does_not_fill_the_log(service: Serve) -> None:
    server = service()
    with httpx2.Client(base_url=server.url, timeout=60) as client:
        for number in range(400):
            headers = {"Authorization": f"Bearer wrong-{number:08}"}
            assert client.get("/v1/models", headers=headers).status_code == 401
    _, log = server.stop()
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    refused = [line for line in lines if line["event"] == "key refused"]
    seconds = {line["time"][:19] for line in refused}
    assert 0 < len(refused) <= 20 * len(seconds)
