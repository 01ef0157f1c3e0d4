"""The service on a Ray cluster of this machine: started once, on a real PostgreSQL and a real Redis."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from tests.postgres import Postgres
from tests.redis_server import RedisServer
from tests.redis_server import redis_server as redis_server
from tests.serving import TESSERA, children, command, free_port, launching

pytest.importorskip("ray", reason="Ray is not installed: make test-ray")

N_REPLICAS = 3
KEY = "sk-tessera-" + "r" * 40
PEPPER = "p" * 32
TIERS = "{lite = {sustained_rpm = 30, burst_rpm = 40}}"
FLAGS = ("--engine", "scripted", "--model-name", "mine", "--replica-cpus", "0.1", "--tiers", TIERS)


@dataclass(frozen=True)
class Cluster:
    """A service that `tessera deploy --local` has started, and what its commands need."""

    process: "subprocess.Popen[str]"
    environment: dict[str, str]
    address: str
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, key: str = KEY) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=300)

    def run(self, *arguments: object, **variables: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [TESSERA, *map(str, arguments)],
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            check=False,
        )

    def told(self, *arguments: object) -> Any:
        """What a command says as JSON."""
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def replicas(self) -> list[int]:
        """The ids of the processes of replicas."""
        return [id for id in _descendants(self.process.pid) if "ServeReplica" in command(id)]

    def wait_for_replicas(self, n: int) -> None:
        """Until so many run, and all of them answer."""
        until = time.monotonic() + 300
        while True:
            (row,) = self.told("deploy", "status", "--address", self.address)
            if row["status"] == "RUNNING" and row["replicas"] == {"RUNNING": n}:
                return
            assert time.monotonic() < until, row


def _descendants(id: int) -> Iterator[int]:
    try:
        found = children(id)
    except OSError:  # it has ended meanwhile
        return
    for child in found:
        yield child
        yield from _descendants(child)


@pytest.fixture(scope="session")
def stores(postgres: Postgres, redis_server: RedisServer) -> dict[str, str]:
    """The secret settings, as a node's environment has them."""
    return {
        "TESSERA_API_KEY": KEY,
        "TESSERA_DATABASE_URL": postgres.create("ray"),
        "TESSERA_PEPPER": PEPPER,
        "TESSERA_REDIS_URL": redis_server.create(),
    }


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment with a home of its own, in which Ray keeps its token, and without settings."""
    folder = tmp_path_factory.mktemp("home")
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("TESSERA_", "RAY_", "HF_"))
    }
    return {**kept, "HOME": str(folder), "XDG_DATA_HOME": str(folder / "data"), "PATH": _path()}


def _path() -> str:
    return os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))


@pytest.fixture(scope="session")
def cluster(
    home: dict[str, str], stores: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """A cluster with `N_REPLICAS` replicas; no process listens but on loopback for HTTP."""
    port = free_port()
    environment = {**home, **stores}
    log = tmp_path_factory.mktemp("log") / "stderr"
    with launching(environment, "sh", "-c", f'exec "$0" "$@" 2>{log}', TESSERA) as start:
        process = start("deploy", "--local", "--port", port, "--min-replicas", N_REPLICAS, *FLAGS)
        assert process.stdout is not None
        lines = [process.stdout.readline(), process.stdout.readline()]
        assert lines[-1].startswith("Serving"), log.read_text()[-3000:]
        address = lines[0].split()[-1].removesuffix(".")
        yield Cluster(process, environment, address, port, log)
        process.terminate()
        assert process.wait(300) == 0
        assert httpx2_refuses(port)


def httpx2_refuses(port: int) -> bool:
    try:
        httpx2.get(f"http://127.0.0.1:{port}/healthz", timeout=10)
    except httpx2.TransportError:
        return True
    return False
