"""The service on a Ray cluster of this machine: started once, on a real PostgreSQL and a real Redis."""

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from tests.postgres import Postgres
from tests.redis_server import RedisServer
from tests.redis_server import redis_server as redis_server
from tests.serving import TESSERA, Start, children, command, free_port, launching

from tessera.models.cache import default_root

N_REPLICAS = int(os.environ.get("RAY_REPLICAS", "4"))
TOKENS_PER_S = 50
KEY = "sk-tessera-" + "r" * 40
PEPPER = "secret-of-digests-" + "p" * 32
ADMIN_KEY = "sk-tessera-" + "a" * 40
TIERS = "{lite = {sustained_rpm = 300, burst_rpm = 400}}"
# So that a busy machine is not taken for a broken one.
PATIENCE = {
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "300",
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "300",
    "RAY_health_check_failure_threshold": "100",
    "RAY_agent_register_timeout_ms": "600000",
    "RAY_worker_register_timeout_seconds": "600",
    "RAY_SERVE_QUEUE_LENGTH_RESPONSE_DEADLINE_S": "10",
    "RAY_SERVE_MAX_QUEUE_LENGTH_RESPONSE_DEADLINE_S": "60",
    # So that a model is ended soon after its last request.
    "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
    "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
}
N_ATTEMPTS = 5
FRONT = "tessera"
MINE = "tessera.mine"
SIZES = ("--replica-cpus", "0.1", "--front-cpus", "0.1")
FLAGS = ("--engine", "scripted", "--model-name", "mine", *SIZES)


def models_of(*aliases: str) -> tuple[str, ...]:
    """The flags of three models: one has several replicas, the others have none until they are asked."""
    mine = f"min_replicas = {N_REPLICAS}, aliases = {json.dumps(aliases)}"
    scripted = f'engine = "scripted", scripted_tokens_per_s = {TOKENS_PER_S}'
    asleep = "min_replicas = 0, max_replicas = 1"
    models = (
        f"{{mine = {{{mine}, {scripted}}}, asleep = {{{asleep}, replica_idle_s = 1, {scripted}}}, "
        f"embedded = {{{asleep}, threads = 1}}}}"
    )
    return ("--models", models, "--cache-dir", str(default_root()), "--tiers", TIERS, *SIZES)


@dataclass(frozen=True)
class Home:
    """An environment with a home of its own, in which Ray keeps its token, and without settings."""

    folder: Path
    environment: dict[str, str]

    def run(self, *arguments: object, **variables: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [TESSERA, *map(str, arguments)],
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            check=False,
        )

    def told(self, *arguments: object) -> Any:
        """Runs a command; returns what it prints as JSON."""
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @contextmanager
    def cluster(self, *flags: object, **variables: str) -> "Generator[Cluster]":
        """A service on a cluster of its own, which ends with the context."""
        environment = {**self.environment, **variables}
        log = self.folder / "stderr"
        redirected = ("sh", "-c", f'exec "$0" "$@" 2>{log}', TESSERA)
        with launching(environment, *redirected) as start:
            process, first, second = _started(start, log, *flags)
            assert second.startswith("Serving"), log.read_text()[-3000:]
            address, url = first.split()[-1].removesuffix("."), second.split()[-1].removesuffix("/v1")
            with ExitStack() as clients:
                yield Cluster(self.folder, environment, process, url, address, log, clients)
            process.terminate()
            assert process.wait(300) == 0


@dataclass(frozen=True)
class Cluster(Home):
    """A service that `tessera deploy --local` has started; its commands have its environment."""

    process: "subprocess.Popen[str]"
    url: str
    address: str
    log: Path
    clients: ExitStack
    admin_url: str = ""

    def client(self, key: str = KEY) -> openai.OpenAI:
        client = openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=300)
        return self.clients.enter_context(client)

    def update(self, *flags: object) -> "subprocess.CompletedProcess[str]":
        return self.run("deploy", "--address", self.address, *flags)

    def running_on(self) -> dict[str, str]:
        """The replicas of the requests in flight, by the ids of their replies."""
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
        shown = httpx2.get(f"{self.admin_url}/admin/requests", headers=headers, timeout=300).json()
        return {row["id"]: row["replica"] for row in shown["requests"]}

    def replicas(self, application: str = MINE) -> list[int]:
        """The ids of the processes of an application's replicas."""
        name = f"ServeReplica:{application}:"
        return [id for id in descendants(self.process.pid) if name in command(id)]

    def wait_for_replicas(self, n: int, application: str = MINE) -> None:
        """Until so many run, and none is starting or ending."""
        until = time.monotonic() + 300
        while True:
            rows = {
                row["application"]: row for row in self.told("deploy", "status", "--address", self.address)
            }
            row = rows[application]
            if row["status"] == "RUNNING" and row["replicas"] == ({"RUNNING": n} if n else {}):
                return
            assert time.monotonic() < until, row


def _started(start: Start, log: Path, *flags: object) -> "tuple[subprocess.Popen[str], str, str]":
    """The process of a service and its two lines. Ray waits half a minute for its own processes, whatever
    else the machine does; then it is started again.
    """
    for n_left in reversed(range(N_ATTEMPTS)):
        process = start("deploy", "--local", *flags)
        assert process.stdout is not None
        first, second = process.stdout.readline(), process.stdout.readline()
        if second or not n_left or "timed out during startup" not in log.read_text():
            return process, first, second
    raise AssertionError


def descendants(id: int) -> Iterator[int]:
    """The ids of the processes that it has started, and of theirs."""
    try:
        found = children(id)
    except OSError:  # it has ended meanwhile
        return
    for child in found:
        yield child
        yield from descendants(child)


@pytest.fixture(scope="session", autouse=True)
def with_ray() -> None:
    """Skips where Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: make test-ray")


@pytest.fixture(scope="session")
def stores(postgres: Postgres, redis_server: RedisServer) -> dict[str, str]:
    """The secret settings, as a node's environment has them."""
    return {
        "TESSERA_API_KEY": KEY,
        "TESSERA_DATABASE_URL": postgres.create("ray"),
        "TESSERA_PEPPER": PEPPER,
        "TESSERA_REDIS_URL": redis_server.create(),
    }


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return _home(tmp_path)


def _home(folder: Path) -> Home:
    foreign = ("TESSERA_", "RAY_", "HF_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    own = {"HOME": str(folder), "XDG_DATA_HOME": str(folder / "data"), "PATH": path}
    return Home(folder, {**kept, **own, **PATIENCE})


@pytest.fixture(scope="session")
def cluster(stores: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three models on shared stores, one of them with `N_REPLICAS` replicas."""
    home = _home(tmp_path_factory.mktemp("home"))
    admin_port = free_port()
    flags = ("--port", free_port(), "--admin-port", admin_port, *models_of())
    with home.cluster(*flags, **stores, TESSERA_ADMIN_KEY=ADMIN_KEY) as running:
        yield replace(running, admin_url=f"http://127.0.0.1:{admin_port}")
