"""`tessera accounts`, `keys` and `store`, as an operator uses them; and that a server believes them."""

import json
import re
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from click.testing import CliRunner
from tests.postgres import Postgres
from tests.serving import TESSERA, Server, ask
from tests.waiting import wait_for

from tessera.cli.main import main

Run = Callable[..., tuple[int, str, str]]
Serve = Callable[..., Server]
PEPPER = "p" * 32
QUICK = ("--scripted-tokens-per-s", 10_000)


@pytest.fixture
def run(environment: dict[str, str]) -> Run:
    """Runs a command in this process; returns the exit code, standard output and standard error."""

    def one(*arguments: object, **variables: str) -> tuple[int, str, str]:
        ran = CliRunner(env=environment | variables).invoke(main, [str(argument) for argument in arguments])
        assert ran.exception is None or isinstance(ran.exception, SystemExit), ran.exception
        return ran.exit_code, ran.stdout, ran.stderr

    return one


@pytest.fixture
def result(run: Run) -> Callable[..., Any]:
    """Runs a command; returns what it prints as JSON."""

    def one(*arguments: object, **variables: str) -> Any:
        code, output, said = run(*arguments, "--json", **variables)
        assert code == 0, said
        return json.loads(output)

    return one


def status(server: Server, secret: str) -> tuple[int, str | None]:
    """Sends a chat request; returns the status and the error's code."""
    headers = {"Authorization": f"Bearer {secret}"}
    reply = httpx2.post(f"{server.url}/v1/chat/completions", json=ask(), headers=headers, timeout=60)
    return reply.status_code, reply.json().get("error", {}).get("code")


def test_the_life_of_an_account(result: Callable[..., Any], run: Run, environment: dict[str, str]) -> None:
    made = result("accounts", "create", "acme", "--tier", "lite")
    assert made["id"].startswith("acc_")
    assert (made["name"], made["tier"], made["disabled_s"]) == ("acme", "lite", None)
    assert result("accounts", "set-tier", "acme", "pro")["tier"] == "pro"
    assert result("accounts", "disable", made["id"])["disabled_s"] == pytest.approx(time.time(), abs=600)
    assert result("accounts", "enable", "acme") == result("accounts", "show", "acme")
    assert result("accounts", "list") == [result("accounts", "show", made["id"])]
    code, table, _ = run("accounts", "list")
    assert code == 0
    assert re.search(r"id +name +tier +created", table)
    assert "acme" in table
    path = environment["TESSERA_DATABASE_URL"].removeprefix("sqlite:///")
    with sqlite3.connect(path) as base:
        rows = base.execute("SELECT action, actor FROM audit ORDER BY id").fetchall()
    base.close()
    assert [action for action, _ in rows] == [
        f"account.{action}" for action in ("create", "set-tier", "disable", "enable")
    ]
    assert all(actor.startswith("cli:") for _, actor in rows)


def test_the_life_of_a_key(result: Callable[..., Any], run: Run, environment: dict[str, str]) -> None:
    account = result("accounts", "create", "acme", "--tier", "lite")
    terms = ("--models", "a, b", "--expires", "2040-01-02", "--burst-rpm", 90, "--burst-until", "2040-01-01")
    made = result("keys", "create", "acme", "--name", "dev", *terms)
    assert re.fullmatch(r"sk-tessera-[A-Za-z0-9]{40}", made["secret"])
    assert made["id"].startswith("key_")
    assert made["secret"].endswith(made["last4"])
    shown = result("keys", "show", made["id"])
    assert {**shown, "secret": made["secret"]} == made
    assert (shown["account"], shown["account_id"], shown["state"]) == ("acme", account["id"], "active")
    assert (shown["models"], shown["burst_rpm"]) == (["a", "b"], 90)
    assert (shown["expires_s"], shown["burst_until_s"]) == (2209075200.0, 2208988800.0)
    freed = ("--expires", "never", "--models", "all", "--no-burst", "--name", "ci")
    changed = result("keys", "update", made["id"], *freed)
    kept = {"expires_s": None, "models": None, "burst_rpm": None, "burst_until_s": None, "name": "ci"}
    assert changed == {**shown, **kept}
    assert result("keys", "update", made["id"], "--models", "c") == {**changed, "models": ["c"]}
    assert result("keys", "revoke", made["id"])["state"] == "revoked"
    assert result("keys", "list", "acme") == result("keys", "list") == [result("keys", "show", made["id"])]
    code, table, _ = run("keys", "list")
    assert code == 0
    assert made["secret"] not in table
    for path in Path(environment["TESSERA_DATABASE_URL"].removeprefix("sqlite:///")).parent.iterdir():
        assert made["secret"][11:].encode() not in path.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("accounts", "create", "other", "--tier", "gold"),
            ["'gold'", "lite, pro, scale, enterprise, operator"],
        ),
        (("accounts", "create", "acme", "--tier", "lite"), ["'acme' already"]),
        (("accounts", "set-tier", "acme", "gold"), ["'gold'", "lite, pro"]),
        (("accounts", "show", "nobody"), ["'nobody'"]),
        (("keys", "create", "nobody", "--name", "dev"), ["'nobody'"]),
        (("keys", "create", "acme", "--name", "dev", "--expires", "tomorrow"), ["--expires is 'tomorrow'"]),
        (("keys", "create", "acme", "--name", "dev", "--expires", "2020-01-01"), ["is over"]),
        (("keys", "create", "acme", "--name", "dev", "--burst-rpm", "5"), ["date"]),
        (("keys", "revoke", "key_none"), ["'key_none'"]),
        (("store", "downgrade", "nowhere"), ["nowhere"]),
        (("audit", "--before", str(2**31)), ["--before", "2147483647"]),
        (
            (
                "keys",
                "create",
                "acme",
                "--name",
                "k",
                "--burst-rpm",
                str(2**31),
                "--burst-until",
                "2099-01-01",
            ),
            ["from 1 to 2147483647"],
        ),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_done_is_said_in_a_line(run: Run, arguments: tuple[str, ...], said: list[str]) -> None:
    assert run("accounts", "create", "acme", "--tier", "lite")[0] == 0
    code, _, errors = run(*arguments)
    assert code in (1, 2)
    assert [word for word in said if word not in errors] == []
    assert "Traceback" not in errors


def test_the_store_is_checked_and_taken_up_and_down(run: Run, result: Callable[..., Any]) -> None:
    assert run("store", "check")[0] == 1
    up = result("store", "upgrade")
    assert up["revision"] == up["needed"]
    assert up["differences"] == []
    assert run("store", "check")[0] == 0
    assert result("store", "downgrade", "base")["revision"] is None


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_a_secret_that_cannot_be_shown_is_said_to_be_lost(
    result: Callable[..., Any], environment: dict[str, str], flags: tuple[str, ...]
) -> None:
    result("accounts", "create", "acme", "--tier", "lite")
    with open("/dev/full", "w") as full:
        command = [str(TESSERA), "keys", "create", "acme", "--name", "dev", *flags]
        ran = subprocess.run(command, env=environment, stdout=full, stderr=subprocess.PIPE, text=True)
    assert ran.returncode
    (key,) = result("keys", "list")
    assert f"tessera keys revoke {key['id']}" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_terminal_that_cannot_show_a_name_shows_the_rest(
    result: Callable[..., Any], environment: dict[str, str]
) -> None:
    result("accounts", "create", "漢字", "--tier", "lite")
    command = [str(TESSERA), "keys", "create", "漢字", "--name", "dev"]
    ran = subprocess.run(
        command, env=environment | {"PYTHONIOENCODING": "latin-1"}, capture_output=True, check=True
    )
    assert rb"\u6f22\u5b57" in ran.stdout
    assert b"sk-tessera-" in ran.stdout


def test_postgresql_needs_a_pepper(tessera: Run) -> None:
    url = "postgresql://tessera:secret@127.0.0.1:1/tessera"
    code, _, said = tessera("serve", "--engine", "scripted", "--port", 0, TESSERA_DATABASE_URL=url)
    assert code == 2
    assert "TESSERA_PEPPER" in said
    assert "secret" not in said


def test_a_store_that_cannot_be_written_stops_the_start(tessera: Run, tmp_path: Path) -> None:
    for path in (tmp_path / "base", tmp_path / "a-file/base"):
        (tmp_path / "a-file").touch()
        (tmp_path / "base").mkdir(exist_ok=True)
        url = f"sqlite:///{path}"
        code, _, said = tessera("serve", "--engine", "scripted", "--port", 0, TESSERA_DATABASE_URL=url)
        assert code == 2
        assert str(tmp_path) in said
        assert "Traceback" not in said


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql://tessera:secret@127.0.0.1:1/tessera", "onnection refused"),
        ("postgresql://127.0.0.1:1/tessera?nonsense=1", 'invalid connection option "nonsense"'),
        ("sqlite:////{folder}", "unable to open database file"),
    ],
)
@pytest.mark.parametrize("arguments", [("accounts", "list"), ("store", "check")], ids=" ".join)
def test_a_command_says_why_the_store_cannot_be_used(
    run: Run, tmp_path: Path, url: str, reason: str, arguments: tuple[str, ...]
) -> None:
    code, _, said = run(*arguments, TESSERA_DATABASE_URL=url.format(folder=tmp_path))
    assert code == 1
    assert said.startswith("Error: The store ")
    assert reason in said
    assert "secret" not in said
    assert said.count("\n") == 1


def test_a_server_makes_the_tables_as_soon_as_it_may(
    own_postgres: Postgres, service: Serve, result: Callable[..., Any]
) -> None:
    """And says why it could not: first the database was away, then its role had no rights there."""
    url = own_postgres.create("refusing")
    own_postgres.sql("CREATE ROLE app LOGIN")
    own_postgres.stop()
    store = {"TESSERA_DATABASE_URL": url.replace("tessera@", "app@"), "TESSERA_PEPPER": PEPPER}
    process = service("--log-format", "json", **store)
    nobody = "sk-tessera-" + "z" * 40
    own_postgres.start()
    stderr, log = process.process.stderr, ""
    assert stderr
    while "permission denied" not in log:
        log += stderr.readline()
    assert status(process, nobody) == (503, "store_unavailable")
    own_postgres.sql("GRANT ALL ON SCHEMA public TO app", "refusing")
    wait_for(lambda: status(process, nobody) == (401, "invalid_api_key"))
    process.send()
    log += stderr.read()
    assert process.process.wait(300) == 0
    assert "Traceback" not in log
    said = [json.loads(line) for line in log.splitlines() if "store" in line]
    reasons = {line["event"]: line.get("reason", "") for line in said}
    assert "connection" in reasons["store unavailable, serving without it"]
    assert "permission denied for schema public" in reasons["store still unavailable"]
    assert "store available" in reasons


def test_a_server_notices_what_becomes_of_keys(
    database: str, service: Serve, result: Callable[..., Any]
) -> None:
    """Two API processes, on both stores."""
    store = {"TESSERA_DATABASE_URL": database, "TESSERA_PEPPER": PEPPER}
    result("accounts", "create", "acme", "--tier", "lite", **store)
    first, second = (result("keys", "create", "acme", "--name", name, **store) for name in ("a", "b"))
    other = result("keys", "create", "acme", "--name", "c", "--models", "another/model", **store)
    server = service("--workers", 2, "--key-cache-s", 0.5, *QUICK, **store)

    def everywhere(key: Any, expected: tuple[int, str | None]) -> bool:
        """Whether every process answers as expected: each request has a connection of its own."""
        return all(status(server, key["secret"]) == expected for _ in range(6))

    ok, refused = (200, None), (401, "invalid_api_key")
    assert everywhere(first, ok)
    assert everywhere(second, ok)
    assert status(server, server.key) == ok
    assert status(server, other["secret"]) == (403, "permission_denied")
    result("keys", "revoke", first["id"], **store)
    wait_for(lambda: everywhere(first, refused))
    assert everywhere(second, ok)
    result("accounts", "disable", "acme", **store)
    wait_for(lambda: everywhere(second, refused))
    result("accounts", "enable", "acme", **store)
    wait_for(lambda: everywhere(second, ok))
    third = result("keys", "create", "acme", "--name", "c", **store)
    assert status(server, third["secret"]) == ok
    assert server.stop()[0] == 0
    assert result("keys", "show", second["id"], **store)["last_used_s"] == pytest.approx(time.time(), abs=600)


@pytest.mark.full
def test_a_key_outlives_the_server(service: Serve, result: Callable[..., Any]) -> None:
    result("accounts", "create", "acme", "--tier", "lite")
    made = result("keys", "create", "acme", "--name", "dev")
    for _ in range(2):
        server = service()
        assert status(server, made["secret"]) == (200, None)
        assert server.stop()[0] == 0


def test_a_server_lives_through_an_outage_of_postgresql(
    own_postgres: Postgres, service: Serve, result: Callable[..., Any]
) -> None:
    """It starts without it, makes the tables when it comes, and lives through the next outage."""
    store = {"TESSERA_DATABASE_URL": own_postgres.create("outage"), "TESSERA_PEPPER": PEPPER}
    ok, unknown, refused = (200, None), (503, "store_unavailable"), (401, "invalid_api_key")
    nobody = "sk-tessera-" + "z" * 40
    own_postgres.stop()
    server = service("--key-cache-s", 0.5, "--log-format", "json", **store)
    assert status(server, nobody) == unknown
    own_postgres.start()
    wait_for(lambda: status(server, nobody) == refused)
    result("accounts", "create", "acme", "--tier", "lite", **store)
    used, unused = (result("keys", "create", "acme", "--name", "k", **store)["secret"] for _ in range(2))
    assert status(server, used) == ok
    own_postgres.stop()
    time.sleep(0.6)
    for _ in range(3):
        assert [status(server, secret) for secret in (used, server.key)] == [ok, ok]
        assert [status(server, secret) for secret in (unused, "sk-tessera-" + "y" * 40)] == [unknown] * 2
    own_postgres.start()
    wait_for(lambda: status(server, unused) == ok)
    assert status(server, nobody) == refused
    code, log = server.stop()
    assert code == 0
    events = [json.loads(line)["event"] for line in log.splitlines()]
    for event in ("store unavailable, serving without it", "store available", "key store unavailable"):
        assert event in events
    assert PEPPER not in log
