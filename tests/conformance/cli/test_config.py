"""The service and all commands find the same file of settings, and say which store they write to."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from tests.serving import TESSERA, Server, announced, ask

from tessera.cli.main import main

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@dataclass(frozen=True)
class Command:
    """A command that uses the store, with arguments that let it succeed; `{key}` is the id of a key."""

    words: str
    writes: bool


COMMANDS = (
    Command("accounts create other --tier lite", writes=True),
    Command("accounts list", writes=False),
    Command("accounts show acme", writes=False),
    Command("accounts set-tier acme pro", writes=True),
    Command("accounts disable acme", writes=True),
    Command("accounts enable acme", writes=True),
    Command("accounts set-limits acme concurrency=3", writes=True),
    Command("accounts budgets", writes=False),
    Command("accounts delete other --usage keep", writes=True),
    Command("keys create acme --name dev", writes=True),
    Command("keys list", writes=False),
    Command("keys show {key}", writes=False),
    Command("keys update {key} --name ci", writes=True),
    Command("keys revoke {key}", writes=True),
    Command("store upgrade", writes=True),
    Command("store backup {copy}", writes=False),
    Command("store rotate-pepper", writes=True),
    Command("store downgrade base", writes=True),
    Command("store check", writes=False),
    Command("usage", writes=False),
    Command("audit", writes=False),
)
OF_THE_STORE = ("accounts", "keys", "store", "usage", "audit")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a configuration file that names a store."""
    folder = tmp_path / "home/.config/tessera"
    folder.mkdir(parents=True)
    (folder / "tessera.toml").write_text(f'database_url = "sqlite:///{tmp_path / "configured.db"}"\n')
    return tmp_path / "home"


@pytest.fixture
def bare(environment: dict[str, str]) -> dict[str, str]:
    """The environment without variables that name files."""
    ours = ("TESSERA_", "XDG_", "HOME")
    return {name: value for name, value in environment.items() if not name.startswith(ours)}


@pytest.fixture
def run(bare: dict[str, str], home: Path) -> Run:
    """Runs a command with this home."""

    def one(*words: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [TESSERA, *words],
            env={**bare, "HOME": str(home), **variables},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return one


def leaves(group: click.Group, *before: str) -> Iterator[str]:
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        if isinstance(found, click.Group):
            yield from leaves(found, *before, name)
        else:
            yield " ".join([*before, name])


def test_the_table_has_every_command_of_the_store() -> None:
    known = [name for name in leaves(main) if name.split()[0] in OF_THE_STORE]
    unknown = [
        name for name in known if not any(f"{each.words} ".startswith(f"{name} ") for each in COMMANDS)
    ]
    assert len(known) >= 16
    assert unknown == []


def test_every_command_that_writes_says_to_which_store(run: Run, tmp_path: Path) -> None:
    assert run("accounts", "create", "acme", "--tier", "lite").returncode == 0
    key = json.loads(run("keys", "create", "acme", "--name", "k", "--json").stdout)["id"]
    # What removes the tables comes last.
    for command in sorted(COMMANDS, key=lambda each: each.words.startswith("store downgrade")):
        ran = run(*command.words.format(key=key, copy=tmp_path / "copy.db").split())
        assert ran.returncode == 0, (command, ran.stderr)
        said = f"Store: sqlite:///{tmp_path / 'configured.db'}" in ran.stderr
        assert said == command.writes, command
        assert "Store:" not in ran.stdout


@contextmanager
def serving(*arguments: str, **environment: str) -> Iterator[Server]:
    """Starts a server with these variables and no others."""
    command = [TESSERA, "serve", "--engine", "scripted", "--port", "0", *arguments]
    with subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            yield announced(process, environment.get("TESSERA_API_KEY"))
        finally:
            process.kill()


def test_a_command_finds_the_store_of_the_service(
    run: Run, bare: dict[str, str], home: Path, tmp_path: Path
) -> None:
    """With nothing in the environment but a home."""
    created = run("accounts", "create", "acme", "--tier", "lite")
    secret = json.loads(run("keys", "create", "acme", "--name", "k", "--json").stdout)["secret"]
    assert created.returncode == 0
    with serving(**bare, HOME=str(home)) as server:
        with server.client() as client:
            headers = {"Authorization": f"Bearer {secret}"}
            assert client.post("/v1/chat/completions", json=ask(), headers=headers).status_code == 200
        assert server.stop()[0] == 0
    rows = json.loads(run("usage", "--by", "account", "--json").stdout)["rows"]
    assert [row["account"] for row in rows] == ["acme"]


def test_an_explicit_file_comes_first(run: Run, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(f'database_url = "sqlite:///{tmp_path / "other.db"}"\n')
    create = ("accounts", "create", "acme", "--tier", "lite")
    assert f"{tmp_path / 'other.db'}" in run(*create, "--config", str(other)).stderr
    assert "acme" in run("accounts", "list", TESSERA_CONFIG=str(other)).stdout
    assert "acme" not in run("accounts", "list").stdout


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_key_alone_needs_no_store_and_no_home(bare: dict[str, str], workers: str) -> None:
    own = {**bare, "HOME": os.devnull, "TESSERA_API_KEY": "sk-tessera-" + "h" * 40}
    with serving("--workers", workers, **own) as server:
        # The URL as the server prints it, and as people type it.
        for url in (server.url, f"{server.url}/v1", f"{server.url}/v1/"):
            said = subprocess.run(
                [TESSERA, "chat", "--max-tokens", "3", "Hello"],
                env={**own, "TESSERA_URL": url},
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            assert (said.returncode, said.stdout) == (0, "the little lamp \n"), said.stderr
            assert "limit" in said.stderr
        code, log = server.stop()
    assert code == 0
    assert "no store" in log
