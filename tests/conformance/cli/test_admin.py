"""The admin API of a real `tessera serve`, and what its changes do to clients."""

import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.serving import Server, ask
from tests.waiting import wait_for

Run = Callable[..., tuple[int, str, str]]
Serve = Callable[..., Server]

ADMIN_KEY = "admin-" + "k" * 40
QUICK = ("--scripted-tokens-per-s", 10_000)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@dataclass(frozen=True)
class Governed:
    """A server with two API processes and its admin API."""

    server: Server
    admin: httpx2.Client
    workers: list[int]

    def ask(self, secret: str) -> tuple[int, str | None]:
        """Returns the status with either the rate that a process (half of the account's) allows, or the
        error's code.
        """
        reply = self._send(secret)
        error = reply.json().get("error", {}).get("code")
        return reply.status_code, error or reply.headers["x-ratelimit-limit-requests"]

    def everywhere(self, secret: str, expected: tuple[int, str | None]) -> bool:
        """Whether every process answers as expected: each request has a connection of its own."""
        return all(self.ask(secret) == expected for _ in range(6))

    def _send(self, secret: str) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {secret}"}
        url = f"{self.server.url}/v1/chat/completions"
        return httpx2.post(url, json=ask(), headers=headers, timeout=60)


@pytest.fixture
def governed(service: Serve) -> Iterator[Governed]:
    port = free_port()
    options = ("--workers", 2, "--admin-port", port, "--key-cache-s", 0.5, *QUICK)
    server = service(*options, TESSERA_ADMIN_KEY=ADMIN_KEY)
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60) as admin:
        yield Governed(server, admin, server.workers())


def test_what_the_admin_api_changes_acts_in_every_process(governed: Governed) -> None:
    """Within the time that is set, here half a second; never more than 30 s, for 60 are promised."""
    admin = governed.admin

    def change(path: str, **fields: Any) -> None:
        admin.patch(path, json=fields).raise_for_status()

    admin.post("/admin/accounts", json={"name": "acme", "tier": "scale"}).raise_for_status()
    keys = [admin.post("/admin/keys", json={"account": "acme", "name": name}).json() for name in ("a", "b")]
    first, second = (key["secret"] for key in keys)
    assert governed.everywhere(first, (200, "250"))
    assert governed.everywhere(second, (200, "250"))
    change("/admin/accounts/acme", tier="enterprise")
    wait_for(lambda: governed.everywhere(first, (200, "2500")))
    admin.post(f"/admin/keys/{keys[0]['id']}/revoke").raise_for_status()
    wait_for(lambda: governed.everywhere(first, (401, "invalid_api_key")))
    assert governed.everywhere(second, (200, "2500"))
    change(f"/admin/keys/{keys[1]['id']}", models=["another/model"])
    wait_for(lambda: governed.everywhere(second, (403, "permission_denied")))
    change(f"/admin/keys/{keys[1]['id']}", models=None)
    wait_for(lambda: governed.everywhere(second, (200, "2500")))
    change("/admin/accounts/acme", disabled=True)
    wait_for(lambda: governed.everywhere(second, (401, "invalid_api_key")))
    change("/admin/accounts/acme", disabled=False)
    wait_for(lambda: governed.everywhere(second, (200, "2500")))
    report = admin.get("/admin/usage", params={"by": "key"}).json()
    assert {row["key"] for row in report["rows"]} == {key["id"] for key in keys}


def test_its_key_is_nobody_elses(governed: Governed, environment: dict[str, str]) -> None:
    admin, server = governed.admin, governed.server
    made = admin.post("/admin/accounts", json={"name": "acme", "tier": "lite"})
    assert made.status_code == 201
    secret = admin.post("/admin/keys", json={"account": "acme", "name": "a"}).json()["secret"]
    for key in (server.key, secret, "x" * 40):
        refused = admin.get("/admin/accounts", headers={"Authorization": f"Bearer {key}"})
        assert refused.status_code == 401
    with server.client() as client:
        for path in ("/admin/accounts", "/admin/audit", "/admin"):
            assert client.get(path).status_code == 404
            with_admin_key = {"Authorization": f"Bearer {ADMIN_KEY}"}
            assert client.get(path, headers=with_admin_key).status_code == 401
    assert httpx2.get(f"{admin.base_url}/metrics", timeout=60).status_code == 200
    assert len(governed.workers) == 2
    for id in governed.workers:
        for name in ("environ", "cmdline"):
            assert ADMIN_KEY.encode() not in Path(f"/proc/{id}/{name}").read_bytes()
    code, log = server.stop()
    assert code == 0
    assert "admin key refused" in log
    folder = Path(environment["TESSERA_DATABASE_URL"].removeprefix("sqlite:///")).parent
    texts = [log.encode(), *(path.read_bytes() for path in folder.rglob("*") if path.is_file())]
    for hidden in (ADMIN_KEY, secret[11:]):
        assert not [text for text in texts if hidden.encode() in text]


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        ((), {"TESSERA_ADMIN_KEY": ADMIN_KEY}, "--admin-port"),
        (
            ("--admin-port", 0),
            {"TESSERA_ADMIN_KEY": ADMIN_KEY, "TESSERA_API_KEY": ADMIN_KEY},
            "TESSERA_API_KEY are the same",
        ),
        (("--admin-port", 0), {"TESSERA_ADMIN_KEY": "short"}, "32 to 256 printable"),
    ],
)
def test_a_key_that_makes_no_sense_stops_the_start(
    tessera: Run, arguments: tuple[object, ...], variables: dict[str, str], said: str
) -> None:
    code, _, errors = tessera("serve", "--engine", "scripted", "--port", 0, *arguments, **variables)
    assert code == 2
    assert said in errors
    assert ADMIN_KEY not in errors
    assert "Traceback" not in errors


def test_the_audit_as_a_table_and_as_json(tessera: Run) -> None:
    assert tessera("audit")[:2] == (0, "")
    assert tessera("accounts", "create", "acme", "--tier", "lite")[0] == 0
    assert tessera("accounts", "set-tier", "acme", "pro")[0] == 0
    code, table, _ = tessera("audit")
    assert code == 0
    head, latest, _ = table.splitlines()
    assert head.split() == ["id", "at", "actor", "action", "subject", "detail"]
    assert "account.set-tier" in latest
    assert '{"tier":"pro","before":"lite"}' in latest
    code, output, _ = tessera("audit", "--json", "--limit", 1, "--account", "acme")
    (change,) = json.loads(output)
    assert (change["action"], change["detail"]) == ("account.set-tier", {"tier": "pro", "before": "lite"})
    assert set(change) == {"id", "at_s", "actor", "action", "subject", "detail"}
    code, _, said = tessera("audit", "--account", "nobody")
    assert (code, "'nobody'" in said) == (1, True)
    code, _, said = tessera("audit", "--since", "soon")
    assert (code, "since is 'soon'" in said) == (1, True)
