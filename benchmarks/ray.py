"""A cluster of Ray on this machine: how it scales, and what the way through the front costs.

    /path/of/.venv-ray/bin/python -m benchmarks.ray

Scale: the scripted engine at the pace of a real one, with few places each; 1, 2 and 4 replicas get the same
streams, more than four can take. Ingress: one replica without a pace; the same streams go through Ray's proxy
and the front, and to the replica's own listener, in turns. Needs the environment of `make test-ray`.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from benchmarks.http_load import Server, first_bytes, flood
from benchmarks.servers import free_port
from tests.postgres import cluster as postgres
from tests.redis_server import RedisServer

KEY = "sk-tessera-" + "b" * 40
PLACES = 8
TOKENS_PER_S = 20
SCALES = (1, 2, 4)
_TESSERA = Path(sys.executable).with_name("tessera")
_PATIENCE = {
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "300",
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "300",
    "RAY_worker_register_timeout_seconds": "600",
}


@contextmanager
def stores() -> Generator[Mapping[str, str]]:
    """What replicas share, as the variables of its settings."""
    folder = Path(tempfile.mkdtemp(prefix="tessera-redis-"))
    redis = RedisServer(folder)
    redis.start()
    try:
        with postgres() as server:
            yield {
                "TESSERA_API_KEY": KEY,
                "TESSERA_DATABASE_URL": server.create("bench"),
                "TESSERA_PEPPER": "p" * 40,
                "TESSERA_REDIS_URL": redis.create(),
            }
    finally:
        redis.stop()
        shutil.rmtree(folder)


@contextmanager
def service(variables: Mapping[str, str], *flags: object) -> Generator[tuple[Server, Server]]:
    """A service on a cluster of its own: its address, and that of its first replica."""
    port = free_port()
    command = [_TESSERA, "deploy", "--local", "--engine", "scripted", "--model-name", "tessera/scripted"]
    sizes = ("--replica-cpus", "0.1", "--front-cpus", "0.1", "--port", port, "--log-level", "error")
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, **_PATIENCE, **variables, "HOME": home, "XDG_DATA_HOME": home}
        started = subprocess.Popen(
            [*map(str, (*command, *sizes, *flags))],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        with started as process:
            assert process.stdout is not None
            try:
                address = process.stdout.readline().split()[-1].removesuffix(".")
                if not process.stdout.readline().startswith("Serving"):
                    raise RuntimeError("The service did not start.")
                ingress = Server(port, KEY, process.pid)
                asked = [_TESSERA, "deploy", "replicas", "--address", address, "--json"]
                rows: list[dict[str, Any]] = json.loads(subprocess.check_output(asked, env=environment))
                where = urlsplit(rows[0]["address"])
                assert where.port is not None
                assert where.hostname is not None
                direct = replace(ingress, port=where.port, host=where.hostname, pid=rows[0]["process"])
                yield ingress, direct
            finally:
                process.terminate()


def scale(variables: Mapping[str, str], for_s: float) -> dict[int, float]:
    """Events per second by the number of replicas."""
    paced = ("--max-running", PLACES, "--max-queued", 10_000, "--scripted-tokens-per-s", TOKENS_PER_S)
    found: dict[int, float] = {}
    for n in SCALES:
        with service(variables, *paced, "--min-replicas", n) as (ingress, _):
            # A replica is never without work: more streams than places, wherever they go.
            found[n] = flood(ingress, 2 * PLACES * max(SCALES), for_s).per_s
        print(f"{n} replicas: {found[n]:,.0f} events/s, {found[n] / found[1]:.2f} x")
    return found


def ingress(variables: Mapping[str, str], for_s: float, rounds: int) -> dict[str, float]:
    """What goes through the front, against the replica alone."""
    events: dict[str, list[float]] = {"ingress": [], "direct": []}
    first: dict[str, list[float]] = {"ingress": [], "direct": []}
    with service(variables, "--scripted-tokens-per-s", 0) as (through, direct):
        for _ in range(rounds):
            for name, server in (("ingress", through), ("direct", direct)):
                events[name].append(flood(server, 16, for_s).per_s)
    with service(variables, "--scripted-tokens-per-s", 200) as (through, direct):
        for _ in range(rounds):
            for name, server in (("ingress", through), ("direct", direct)):
                first[name] += first_bytes(server, 4, for_s)
    found = {f"{name}_events_per_s": median(each) for name, each in events.items()}
    found |= {f"{name}_first_byte_ms": 1e3 * median(each) for name, each in first.items()}
    share = found["ingress_events_per_s"] / found["direct_events_per_s"]
    later_ms = found["ingress_first_byte_ms"] - found["direct_first_byte_ms"]
    print(f"ingress {found['ingress_events_per_s']:,.0f} events/s, {share:.2f} of the replica alone")
    print(f"first byte {found['ingress_first_byte_ms']:.1f} ms, {later_ms:+.1f} ms")
    return found


def main() -> None:
    """Measure, print, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ray", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="of the ingress")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/ray.json"), help="where to write")
    chosen = parser.parse_args()
    with stores() as variables:
        found = {
            "scale": scale(variables, chosen.seconds),
            "ingress": ingress(variables, chosen.seconds, chosen.rounds),
        }
    chosen.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
