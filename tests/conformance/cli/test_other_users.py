"""Commands as root, and as a user who may not, beside a service that has a user of its own."""

import json
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from click.testing import CliRunner

from tessera.cli.main import main

ROOT, SERVICE, NOBODY = 0, 54_321, 65_534


@dataclass(frozen=True)
class Ran:
    """How a command ended; `raised` is an error that became no line."""

    code: int
    output: str
    said: str
    raised: str | None


Run = Callable[..., Ran]


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that everybody may enter, unlike those of pytest."""
    with TemporaryDirectory(prefix="tessera-users-") as path:
        Path(path).chmod(0o711)
        yield Path(path)


@pytest.fixture
def run(environment: dict[str, str], place: Path) -> Run:
    """A command in a child of this process, which has what it needs in memory: the interpreter's own files
    may be root's alone.
    """

    folders = {f"XDG_{name}_HOME": str(place / name.lower()) for name in ("DATA", "CONFIG", "CACHE")}
    store = {"TESSERA_DATABASE_URL": f"sqlite:///{place}/store/tessera.db"}
    variables = {**environment, **folders, **store}

    def one(words: str, user: int = ROOT) -> Ran:
        if user == ROOT:
            return ran(words, variables)
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # newer interpreters warn of threads
            child = os.fork()
        if child == 0:
            try:
                os.setgroups([])
                os.setgid(user)
                os.setuid(user)
                found = ran(words, variables)
                os.write(writing, json.dumps([found.code, found.output, found.said, found.raised]).encode())
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as result:
            text = result.read()
        os.waitpid(child, 0)
        return Ran(*json.loads(text))

    if os.geteuid() != 0:
        pytest.skip("only root can be other users")
    return one


def ran(words: str, environment: dict[str, str]) -> Ran:
    result = CliRunner(env=environment).invoke(main, words.split())
    raised = None if isinstance(result.exception, SystemExit | None) else repr(result.exception)
    return Ran(result.exit_code, result.stdout, result.stderr, raised)


@pytest.fixture
def folder(place: Path) -> Path:
    """That of the service's store, as systemd makes it."""
    path = place / "store"
    path.mkdir(mode=0o700)
    os.chown(path, SERVICE, SERVICE)
    return path


def owners(folder: Path) -> dict[str, tuple[int, int, int]]:
    """User, group and permissions of each file."""
    found = {path.name: path.stat() for path in folder.iterdir()}
    return {name: (stat.st_uid, stat.st_gid, stat.st_mode & 0o777) for name, stat in found.items()}


def prepared(run: Run) -> None:
    for words in ("accounts create acme --tier lite", "keys create acme --name k --json", "keys list"):
        done = run(words)
        assert done.code == 0, done


def test_what_root_creates_is_the_service_s(run: Run, folder: Path) -> None:
    prepared(run)
    for words in ("store rotate-pepper", "keys create acme --name k2"):
        assert run(words).code == 0
    found = owners(folder)
    assert {"tessera.db", "tessera.db.pepper", "tessera.db.pepper.previous"} <= set(found)
    assert set(found.values()) == {(SERVICE, SERVICE, 0o600)}, found
    listed = run("keys list", user=SERVICE)
    assert (listed.code, "k2" in listed.output) == (0, True), listed
    assert run("accounts set-tier acme pro", user=SERVICE).code == 0


@pytest.mark.parametrize(
    "words",
    [
        "accounts list",
        "accounts create other --tier lite",
        "keys create acme --name k",
        "keys list",
        "store check",
        "store upgrade",
        "store rotate-pepper",
        "store rotate-pepper --lost",
        "store backup copy.db",
        "usage",
        "audit",
    ],
)
def test_a_user_who_may_not_is_told_what_cannot_be_used(run: Run, folder: Path, words: str) -> None:
    prepared(run)
    before = owners(folder)
    refused = run(words, user=NOBODY)
    assert refused.raised is None, refused
    assert refused.code in (1, 2)
    assert str(folder) in refused.said
    assert "Permission denied" in refused.said
    assert owners(folder) == before


def test_a_pepper_of_another_user_is_named(run: Run, folder: Path) -> None:
    prepared(run)
    pepper = folder / "tessera.db.pepper"
    os.chown(pepper, ROOT, ROOT)
    for words in ("keys list", "keys create acme --name k2", "store check"):
        refused = run(words, user=SERVICE)
        assert refused.raised is None, refused
        assert refused.code == 2, words
        assert f"{pepper} cannot be read" in refused.said
