"""Commands as root, and as a user who may not, beside a service that has a user of its own."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.serving import TESSERA

SERVICE, NOBODY = 54_321, 65_534

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(environment: dict[str, str]) -> Run:
    def one(*words: object, user: int = 0) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [TESSERA, *map(str, words)],
            env=environment,
            user=user,
            group=user,
            extra_groups=[],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    if os.geteuid() != 0:
        pytest.skip("only root can be other users")
    if one("--version", user=NOBODY).returncode:
        pytest.skip("other users cannot run this checkout")
    return one


@pytest.fixture
def folder(environment: dict[str, str]) -> Path:
    """That of the service's store, as systemd makes it."""
    path = Path(environment["TESSERA_DATABASE_URL"].removeprefix("sqlite:///")).parent
    path.mkdir(mode=0o700)
    os.chown(path, SERVICE, SERVICE)
    for parent in path.parents[:3]:  # pytest's own, which nobody else may enter
        if parent.stat().st_mode & 0o777 == 0o700:
            parent.chmod(0o711)
    return path


def owners(folder: Path) -> dict[str, tuple[int, int, int]]:
    """User, group and permissions of each file."""
    found = {path.name: path.stat() for path in folder.iterdir()}
    return {name: (stat.st_uid, stat.st_gid, stat.st_mode & 0o777) for name, stat in found.items()}


def test_what_root_creates_is_the_service_s(run: Run, folder: Path) -> None:
    for words in (
        ("accounts", "create", "acme", "--tier", "lite"),
        ("keys", "create", "acme", "--name", "k"),
        ("store", "rotate-pepper"),
        ("keys", "create", "acme", "--name", "k2"),
    ):
        ran = run(*words)
        assert ran.returncode == 0, ran.stderr
    found = owners(folder)
    assert {"tessera.db", "tessera.db.pepper", "tessera.db.pepper.previous"} <= set(found)
    assert set(found.values()) == {(SERVICE, SERVICE, 0o600)}, found
    ran = run("keys", "list", user=SERVICE)
    assert (ran.returncode, "k2" in ran.stdout) == (0, True), ran.stderr
    ran = run("accounts", "set-tier", "acme", "pro", user=SERVICE)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize(
    "words",
    [
        "accounts list",
        "accounts create acme --tier lite",
        "keys create acme --name k",
        "keys list",
        "store check",
        "store upgrade",
        "store rotate-pepper",
        "store rotate-pepper --lost",
        "store backup copy.db",
        "usage",
        "audit",
        "serve --engine scripted --port 0",
    ],
)
def test_a_user_who_may_not_is_told_what_cannot_be_used(run: Run, folder: Path, words: str) -> None:
    ran = run(*words.split(), user=NOBODY)
    assert ran.returncode in (1, 2)
    assert "Traceback" not in ran.stderr
    assert str(folder) in ran.stderr
    assert "Permission denied" in ran.stderr
    assert list(folder.iterdir()) == []


def test_a_pepper_of_another_user_is_named(run: Run, folder: Path) -> None:
    for words in ("accounts create acme --tier lite", "keys create acme --name k"):
        assert run(*words.split()).returncode == 0
    pepper = folder / "tessera.db.pepper"
    os.chown(pepper, 0, 0)
    for words in (
        "keys list",
        "keys create acme --name k2",
        "store check",
        "serve --engine scripted --port 0",
    ):
        ran = run(*words.split(), user=SERVICE)
        assert ran.returncode == 2, words
        assert f"{pepper} cannot be read" in ran.stderr
        assert "Traceback" not in ran.stderr
