"""`tessera serve` as a process, on the scripted engine: fixtures and what tests do with it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

TESSERA = Path(sys.executable).with_name("tessera")

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The variables of a shell without its owner's settings, and with an empty cache."""
    foreign = ("TESSERA_", "HF_", "TRANSFORMERS_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    store = f"sqlite:///{tmp_path / 'store/tessera.db'}"
    return {
        **kept,
        "TESSERA_CACHE_DIR": str(tmp_path / "cache"),
        "TESSERA_DATABASE_URL": store,
        "HF_HOME": str(tmp_path / "hf"),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }


@pytest.fixture
def start(environment: dict[str, str]) -> Iterator[Start]:
    """Starts `tessera` with arguments and, by keyword, variables; it is ended with the test."""
    with launching(environment, TESSERA) as one:
        yield one


@contextmanager
def launching(environment: dict[str, str], *command: object) -> Iterator[Start]:
    """Starts the command with further arguments and variables; all that was started ends with the context."""
    started: list[subprocess.Popen[str]] = []

    def one(*arguments: object, **variables: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*map(str, command), *map(str, arguments)],
            env={**environment, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    try:
        yield one
    finally:
        for process in started:
            with process:
                process.kill()


@dataclass(frozen=True)
class Server:
    process: "subprocess.Popen[str]"
    url: str
    key: str
    announced: list[str]

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def client(self) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, headers=self.headers, timeout=60)

    def send(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def stop(self, with_signal: int = signal.SIGTERM) -> tuple[int, str]:
        """Ends the server; returns its exit code and its log."""
        self.send(with_signal)
        _, log = self.process.communicate(timeout=300)
        return self.process.returncode, log

    def workers(self) -> list[int]:
        """The ids of its API processes."""
        return [id for id in children(self.process.pid) if "tessera.server.api" in command(id)]


@pytest.fixture
def service(start: Start) -> Callable[..., Server]:
    """Starts a server and waits until it says that it serves."""

    def one(*arguments: object, **variables: str) -> Server:
        return announced(starting(start, *arguments, **variables), variables.get("TESSERA_API_KEY"))

    return one


def starting(start: Start, *arguments: object, **variables: str) -> "subprocess.Popen[str]":
    """A server that does not serve yet."""
    return start("serve", "--engine", "scripted", "--port", "0", *arguments, **variables)


def announced(process: "subprocess.Popen[str]", api_key: str | None = None) -> Server:
    """The server, as soon as it says that it serves."""
    assert process.stdout is not None
    lines = [process.stdout.readline().strip()]
    while lines[-1] and not lines[-1].startswith("Listening on "):  # a line for each model stands before it
        lines.append(process.stdout.readline().strip())
    assert lines[-1], process.communicate()[1]
    url = lines[-1].split()[2].removesuffix("/v1,")
    if not api_key:
        lines.append(process.stdout.readline().strip())
    return Server(process, url, api_key or lines[-1].removeprefix("export TESSERA_API_KEY="), lines)


def ask(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5, **fields}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def children(id: int) -> list[int]:
    """The ids of the process's present children."""
    return [int(child) for child in Path(f"/proc/{id}/task/{id}/children").read_text().split()]


def command(id: int) -> str:
    """The command line of the process; empty if it has ended."""
    try:
        return Path(f"/proc/{id}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""
