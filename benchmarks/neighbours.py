"""What one account can do to another: its gaps between tokens and its first tokens, beside attacks.

Two accounts share `tessera serve` with the embedded model. One streams without pause and asks now and then
for something short; the other is idle, then an honest neighbour, then attacks in each known way. The ratios
to the figures beside the honest neighbour are what counts: the figures themselves depend on the machine.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
from benchmarks.servers import free_port, store_in

_PROBE_EVERY_S = 1.0
_NUMBERS = itertools.count()
_BAD_STATUS = 400


@dataclass(frozen=True, slots=True, eq=False)
class Neighbour:
    """What the other account sends: `body`, in so many loops at once."""

    name: str
    n_at_once: int
    body: dict[str, Any] = field(default_factory=dict[str, Any])
    n_words: int = 50


def _pattern(pattern: str) -> dict[str, Any]:
    schema = {"type": "string", "pattern": pattern, "maxLength": 2000}
    return {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}


HONEST = Neighbour("honest", 4, {"max_tokens": 200})
NEIGHBOURS = (
    Neighbour("idle", 0),
    HONEST,
    Neighbour("long prompts", 4, {"max_tokens": 1}, n_words=3000),
    Neighbour("dear masks", 1, {"n": 8, "max_tokens": 400, "response_format": _pattern("a.{20}b")}),
    Neighbour("many choices", 4, {"n": 8, "max_tokens": 1000}),
)


class Victim:
    """The account that is watched."""

    def __init__(self) -> None:
        self.gaps_s: list[float] = []
        self.first_s: list[float] = []


@contextmanager
def _service(tier: str) -> Generator[tuple[str, list[str]]]:
    """A server, and a key of each of two accounts; the second account's tier is `tier`."""
    tessera, port = str(Path(sys.executable).with_name("tessera")), free_port()
    with TemporaryDirectory() as folder:
        plain = {name: value for name, value in os.environ.items() if not name.startswith("TESSERA_")}
        env = plain | {"TESSERA_DATABASE_URL": store_in(folder)}
        command = [tessera, "serve", "--port", str(port), "--log-level", "error"]
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                next(line for line in process.stdout if "/v1" in line)
                keys: list[str] = []
                for name, its_tier in (("victim", "scale"), ("neighbour", tier)):
                    create = [tessera, "accounts", "create", name, "--tier", its_tier]
                    subprocess.run(create, env=env, check=True, capture_output=True)
                    create = [tessera, "keys", "create", name, "--name", "k", "--json"]
                    made = subprocess.run(create, env=env, check=True, capture_output=True)
                    keys.append(json.loads(made.stdout)["secret"])
                yield f"http://127.0.0.1:{port}/v1/chat/completions", keys
            finally:
                process.terminate()


def _request(n_words: int, body: dict[str, Any]) -> dict[str, Any]:
    """Of a prompt that no other request shares."""
    words = " ".join(str(next(_NUMBERS) * 7919 % 100_003) for _ in range(n_words))
    return {"messages": [{"role": "user", "content": f"Go on: {words}"}], "stream": True, **body}


async def _arrivals(client: httpx2.AsyncClient, url: str, key: str, body: dict[str, Any]) -> list[float]:
    """When the request was sent, and when each event came."""
    times = [time.monotonic()]
    headers = {"Authorization": f"Bearer {key}"}
    async with client.stream("POST", url, json=body, headers=headers) as response:
        if response.status_code >= _BAD_STATUS:
            await asyncio.sleep(0.1)
            return times
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                times.append(time.monotonic())
    return times


async def _run(url: str, keys: list[str], neighbour: Neighbour, duration_s: float) -> Victim:
    victim, end_s = Victim(), time.monotonic() + duration_s

    async def stream() -> None:
        while time.monotonic() < end_s:
            _, *times = await _arrivals(client, url, keys[0], _request(20, {"max_tokens": 300}))
            victim.gaps_s += [later - earlier for earlier, later in itertools.pairwise(times)]

    async def probe() -> None:
        while time.monotonic() < end_s:
            times = await _arrivals(client, url, keys[0], _request(20, {"max_tokens": 1}))
            # The first event only names the role.
            victim.first_s += [times[2] - times[0]] if len(times) > 2 else []
            await asyncio.sleep(_PROBE_EVERY_S)

    async def annoy() -> None:
        while time.monotonic() < end_s:
            with contextlib.suppress(httpx2.HTTPError):
                await _arrivals(client, url, keys[1], _request(neighbour.n_words, neighbour.body))

    async with httpx2.AsyncClient(timeout=120) as client:
        annoying = [asyncio.create_task(annoy()) for _ in range(neighbour.n_at_once)]
        await asyncio.gather(stream(), probe())
        for task in annoying:
            task.cancel()
        await asyncio.gather(*annoying, return_exceptions=True)
    return victim


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(len(values) * share), len(values) - 1)] if values else float("nan")


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.neighbours", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30, help="of each neighbour")
    parser.add_argument("--tier", default="scale", help="of the neighbour's account")
    options = parser.parse_args()
    print(
        "| neighbour | gap, median / p99 | first token, p90 | p99 gap, first token: × honest |\n"
        "|---|---|---|---|"
    )
    with _service(options.tier) as (url, keys):
        asyncio.run(_run(url, keys, HONEST, options.seconds / 4))
        measured = {each: asyncio.run(_run(url, keys, each, options.seconds)) for each in NEIGHBOURS}
    gap_s = _quantile(measured[HONEST].gaps_s, 0.99)
    first_s = _quantile(measured[HONEST].first_s, 0.9)
    for each, victim in measured.items():
        p99_s, first = _quantile(victim.gaps_s, 0.99), _quantile(victim.first_s, 0.9)
        median_s = _quantile(victim.gaps_s, 0.5)
        print(
            f"| {each.name} | {median_s * 1e3:.0f} / {p99_s * 1e3:.0f} ms | {first * 1e3:.0f} ms "
            f"| {p99_s / gap_s:.2f}, {first / first_s:.2f} |"
        )


if __name__ == "__main__":
    main()
