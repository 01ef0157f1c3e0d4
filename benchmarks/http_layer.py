"""The HTTP layer alone: what the service adds between an engine and the socket.

Servers run on one core, the client on another; they take turns, round by round. `benchmarks/README.md` tells
what is measured and why so.
"""

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import TypeAlias

from benchmarks.http_load import Server, first_bytes, flood, hold
from benchmarks.http_servers import KEY, MODEL

Figures: TypeAlias = dict[str, float]
"""What one round of one measurement gave, by name."""

_START_S = 90.0
PACED = ("--tokens-per-s", "20", "--events", "40")
IDLE = ("--tokens-per-s", "1", "--events", "100000")


@contextmanager
def started(
    command: list[str], environment: Mapping[str, str], port: int | None = None, core: int | None = None
) -> Generator[Server]:
    """A server in a process of its own, ready to be asked. It prints its port, unless `port` is given."""
    said = subprocess.DEVNULL if port else subprocess.PIPE
    process = subprocess.Popen(command, stdout=said, stderr=subprocess.DEVNULL, text=True, env=environment)
    try:
        if core is not None:
            os.sched_setaffinity(process.pid, {core})
        if process.stdout:
            told = re.search(r"listening on (\d+)", process.stdout.readline())
            assert told, f"{command} did not start"
            port = int(told[1])
        assert port is not None
        _await_port(process, port)
        yield Server(port, KEY, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_port(process: subprocess.Popen[str], port: int) -> None:
    until_s = time.monotonic() + _START_S
    while time.monotonic() < until_s:
        assert process.poll() is None, f"{process.args} ended"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"{process.args} does not listen")


@contextmanager
def ours(app: str, core: int, *options: str) -> Generator[Server]:
    """A server of `http_servers`."""
    command = [sys.executable, "-m", "benchmarks.http_servers", app, "--core", str(core), *options]
    with started(command, os.environ) as server:
        yield server


@contextmanager
def litellm(program: str, core: int, upstream_core: int) -> Generator[Server]:
    """LiteLLM's proxy: one worker with a master key, in front of a `raw` server on the client's core."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    with ours("raw", upstream_core) as upstream, TemporaryDirectory() as folder:
        model = {"model": "openai/x", "api_base": f"http://127.0.0.1:{upstream.port}/v1", "api_key": "x"}
        config = {
            "model_list": [{"model_name": MODEL, "litellm_params": model}],
            "general_settings": {"master_key": KEY},
        }
        path = Path(folder) / "config.yaml"
        path.write_text(json.dumps(config))  # JSON is YAML
        command = [program, "--config", str(path), "--host", "127.0.0.1", "--port", str(port)]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it asks the Internet for prices
        with started(command, environment, port, core) as server:
            for _ in range(20):  # much of it is loaded by the first requests
                if flood(server, 1, 1.0).per_s:
                    break
            yield server


def throughput(servers: Mapping[str, Server], streams: int, for_s: float) -> dict[str, Figures]:
    """One round: how many events per second each server sends."""
    taken: dict[str, Figures] = {}
    for name, server in servers.items():
        one = flood(server, streams, for_s)
        taken[name] = {
            "events_per_s": one.per_s,
            "events_per_cpu_s": one.per_cpu_s,
            "bytes_per_event": one.bytes_per_event,
            "client_core": one.client_share,
        }
    return taken


def latency(servers: Mapping[str, Server], for_s: float) -> dict[str, Figures]:
    """One round: the time to the first byte, at 32 streams of 20 tokens per second."""
    taken: dict[str, Figures] = {}
    for name, server in servers.items():
        cpu_s = -server.cpu_s()
        waited_s = first_bytes(server, 32, for_s)
        cpu_s += server.cpu_s()
        hundredths = quantiles(waited_s, n=100)
        taken[name] = {
            "first_byte_p50_ms": hundredths[49] * 1e3,
            "first_byte_p99_ms": hundredths[98] * 1e3,
            "requests_per_s": len(waited_s) / for_s,
            "cpu_us_per_request": cpu_s / len(waited_s) * 1e6,
        }
    return taken


def idling(core: int, streams: int, for_s: float) -> dict[str, Figures]:
    """One round: many open streams of one token per second, on a fresh server."""
    with ours("tessera", core, *IDLE) as server:
        held = hold(server, streams, for_s, lambda: first_bytes(server, 50, 1.0))
    return {
        f"tessera, {streams} streams": {
            "core": held.core_share,
            "kib_each": held.kib_each,
            "events_per_s": held.events_per_s,
        }
    }


def medians(rounds: list[dict[str, Figures]]) -> dict[str, Figures]:
    """The medians of the rounds, by server and figure."""
    return {
        name: {figure: round(median(one[name][figure] for one in rounds), 3) for figure in rounds[0][name]}
        for name in rounds[0]
    }


def table(figures: dict[str, Figures]) -> str:
    """A Markdown table with a row for each server."""
    columns = list(next(iter(figures.values())))
    lines = [["", *columns], ["---", *("---:" for _ in columns)]]
    lines += [[name, *(f"{row[column]:,.4g}" for column in columns)] for name, row in figures.items()]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def repeated(measure: Callable[[], dict[str, Figures]], rounds: int) -> list[dict[str, Figures]]:
    """Measures so many rounds, and prints their medians."""
    taken = [measure() for _ in range(rounds)]
    print(f"{table(medians(taken))}\n", flush=True)
    return taken


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http_layer", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, choices=range(1, 21), metavar="N")
    parser.add_argument("--streams", type=int, default=8, choices=range(1, 257), metavar="N")
    parser.add_argument("--idle", type=int, default=2000, choices=range(50, 5001), metavar="N")
    parser.add_argument(
        "--seconds", type=float, default=3.0, help="of each flood; the other rounds take three times as long"
    )
    parser.add_argument("--litellm", help="the program, in an environment of its own", metavar="PATH")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/http_layer.json"))
    return parser.parse_args()


def main() -> None:
    chosen = arguments()
    core, *others = sorted(os.sched_getaffinity(0))
    client_core = others[-1] if others else core
    os.sched_setaffinity(0, {client_core})
    results: dict[str, list[dict[str, Figures]]] = {}
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(ours(app, core, "--tokens-per-chunk", n))
            for name, app, n in (
                ("raw ASGI", "raw", "1"),
                ("tessera", "tessera", "1"),
                ("raw ASGI, 4 tokens per event", "raw", "4"),
                ("tessera, 4 tokens per event", "tessera", "4"),
            )
        }
        program = chosen.litellm or shutil.which("litellm")
        if program:
            servers["LiteLLM"] = stack.enter_context(litellm(program, core, client_core))
        else:
            print("LiteLLM is left out: not installed, and no --litellm.\n")
        throughput(servers, chosen.streams, chosen.seconds)  # the round that does not count
        results["throughput"] = repeated(
            lambda: throughput(servers, chosen.streams, chosen.seconds), chosen.rounds
        )
    with ours("raw", core, *PACED) as raw, ours("tessera", core, *PACED) as tessera:
        paced = {"raw ASGI": raw, "tessera": tessera}
        results["latency"] = repeated(lambda: latency(paced, 3 * chosen.seconds), chosen.rounds)
    results["idle"] = repeated(lambda: idling(core, chosen.idle, 3 * chosen.seconds), chosen.rounds)
    chosen.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
