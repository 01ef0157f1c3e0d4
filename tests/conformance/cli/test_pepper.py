"""The pepper: lost, wrong, and rotated, as an operator meets it; and the rotation of the operator's key."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.cli.test_accounts import result, run, status
from tests.serving import Server, Start, starting
from tests.waiting import wait_for

__all__ = ["result", "run"]

Result = Callable[..., Any]
Run = Callable[..., tuple[int, str, str]]
Serve = Callable[..., Server]

OLD, NEW = "o" * 32, "n" * 32
OK, REFUSED = (200, None), (401, "invalid_api_key")
KEY = "sk-tessera-" + "a" * 40


@pytest.fixture
def pepper(environment: dict[str, str]) -> Path:
    return Path(environment["TESSERA_DATABASE_URL"].removeprefix("sqlite:///") + ".pepper")


@pytest.fixture
def secret(result: Result) -> str:
    """Creates a key, and returns its secret."""
    result("accounts", "create", "acme", "--tier", "lite")
    return result("keys", "create", "acme", "--name", "k")["secret"]


COMMANDS = [
    ("keys", "create", "acme", "--name", "k2"),
    ("keys", "list"),
    ("keys", "show", "key_x"),
    ("store", "rotate-pepper"),
]


@pytest.mark.parametrize("loss", ["missing", "another file", "another variable"])
def test_a_pepper_that_is_not_the_store_s_is_refused(
    secret: str, pepper: Path, run: Run, start: Start, result: Result, loss: str
) -> None:
    variables = {"TESSERA_PEPPER": NEW} if loss == "another variable" else {}
    if loss == "missing":
        pepper.unlink()
    elif loss == "another file":
        pepper.write_text(NEW)
    for command in COMMANDS:
        code, _, said = run(*command, **variables)
        assert (code, "pepper" in said) == (2, True), command
    process = starting(start, **variables)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 2
    assert "pepper" in said
    assert "rotate-pepper --lost" in said
    assert "Traceback" not in said
    state = result("store", "check", **variables)["pepper"]
    assert state == ("missing" if loss == "missing" else "wrong")
    assert not pepper.exists() or loss != "missing"  # none was made
    # What needs no pepper works: the operator can still see what there is.
    assert result("accounts", "list")[0]["name"] == "acme"


def test_a_command_without_the_variable_of_the_servers_makes_no_key(
    result: Result, run: Run, service: Serve, pepper: Path
) -> None:
    """Its key would be refused by every server, and no server would start any more."""
    result("accounts", "create", "acme", "--tier", "lite")
    server = service(TESSERA_PEPPER=OLD)
    for variables in ({}, {"TESSERA_PEPPER": NEW}):
        code, _, said = run("keys", "create", "acme", "--name", "k", **variables)
        assert (code, "TESSERA_PEPPER" in said) == (2, True), said
    assert not pepper.exists()
    secret = result("keys", "create", "acme", "--name", "k", TESSERA_PEPPER=OLD)["secret"]
    assert status(server, secret) == OK
    assert server.stop()[0] == 0


def test_before_the_first_key_a_server_may_have_another_pepper(service: Serve, result: Result) -> None:
    for variables in ({"TESSERA_PEPPER": OLD}, {}, {"TESSERA_PEPPER": NEW}):
        assert service(**variables).stop()[0] == 0
    result("accounts", "create", "acme", "--tier", "lite")
    assert result("store", "check", TESSERA_PEPPER=NEW)["pepper"] == "right"
    assert result("store", "check")["pepper"] == "wrong"


def test_a_rotation_loses_no_key_that_is_used(
    secret: str, pepper: Path, result: Result, run: Run, service: Serve
) -> None:
    idle = result("keys", "create", "acme", "--name", "idle")
    before = pepper.read_text()
    rotated = result("store", "rotate-pepper")
    assert rotated["keys_to_move"] == 2
    assert pepper.read_text() != before
    former = pepper.with_name(pepper.name + ".previous")
    assert former.read_text() == before
    assert former.stat().st_mode & 0o777 == pepper.stat().st_mode & 0o777 == 0o600
    assert run("store", "rotate-pepper")[0] == 2
    made = result("keys", "create", "acme", "--name", "new")["secret"]
    server = service()
    assert [status(server, each) for each in (secret, made)] == [OK, OK]
    assert server.stop()[0] == 0
    state = result("store", "check")
    assert (state["pepper"], state["keys_to_move"]) == ("right", 1)
    left = [key["id"] for key in result("keys", "list") if key["pepper"] != rotated["pepper"]]
    assert left == [idle["id"]]
    former.unlink()
    server = service()
    assert [status(server, each) for each in (secret, made, idle["secret"])] == [OK, OK, REFUSED]
    assert [change["action"] for change in result("audit")].count("pepper.rotate") == 1


def test_variables_are_rotated_by_a_restart(database: str, result: Result, service: Serve) -> None:
    """The server that was not restarted yet does not call a key unknown that has moved."""
    old = {"TESSERA_DATABASE_URL": database, "TESSERA_PEPPER": OLD}
    result("accounts", "create", "acme", "--tier", "lite", **old)
    secret = result("keys", "create", "acme", "--name", "k", **old)["secret"]
    both = {"TESSERA_DATABASE_URL": database, "TESSERA_PEPPER": NEW, "TESSERA_PREVIOUS_PEPPER": OLD}
    first, second = service("--workers", 2, **old), service("--workers", 2, **both)
    for _ in range(4):
        assert status(second, secret) == OK
    assert status(first, secret) == (503, "store_unavailable")
    assert first.stop()[0] == 0
    assert second.stop()[0] == 0
    new = {"TESSERA_DATABASE_URL": database, "TESSERA_PEPPER": NEW}
    assert result("store", "check", **new)["keys_to_move"] == 0
    assert status(service(**new), secret) == OK


def test_after_a_loss_there_is_a_way_on(secret: str, pepper: Path, result: Result, service: Serve) -> None:
    pepper.unlink()
    lost = result("store", "rotate-pepper", "--lost")
    assert lost["keys_revoked"] == 1
    made = result("keys", "create", "acme", "--name", "new")["secret"]
    server = service()
    assert [status(server, each) for each in (secret, made)] == [REFUSED, OK]
    assert result("audit")[1]["action"] == "pepper.replace"


def test_the_operator_s_key_is_changed_without_a_gap(service: Serve) -> None:
    new = "sk-tessera-" + "b" * 40
    server = service("--workers", 2, TESSERA_API_KEY=new, TESSERA_PREVIOUS_API_KEY=KEY)
    assert [status(server, each) for each in (KEY, new) for _ in range(3)] == [OK] * 6
    assert server.stop()[0] == 0
    server = service(TESSERA_API_KEY=new)
    wait_for(lambda: status(server, new) == OK)
    assert status(server, KEY) == REFUSED
