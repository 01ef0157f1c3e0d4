"""What one account can do to others: their gaps between tokens and their first tokens, beside attacks.

Three accounts share `tessera serve` with the embedded model. The victim streams without pause and asks now
and then for something short; an account of the highest tier does the latter, too. The neighbour is, round by
round, an honest one and the same volume of an attack (`attacks.py`). The ratios within a round are what
counts, and their medians are printed: the figures themselves depend on the machine.
"""

import argparse
import asyncio
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from select import select
from tempfile import TemporaryDirectory

import httpx2
from benchmarks.attacks import ATTACKS, Attack, chat, honest
from benchmarks.servers import free_port, store_in

_PROBE_EVERY_S = 0.5
_BUILDS_UP_S = 2.0
_MOST_BUILDS_UP_S = 90.0
MOST_GAP, MOST_FIRST = 1.5, 2.0
"""Wanted: p99 of the gaps and first token, beside an attack ÷ beside an honest neighbour."""


@dataclass(frozen=True, slots=True)
class Service:
    """The server's port, and a key of each account."""

    port: int
    victim: str
    top: str
    neighbour: str


@dataclass(slots=True)
class Seen:
    """What the victim, and the account of the highest tier, measured in one round."""

    gaps_s: list[float] = field(default_factory=list[float])
    first_s: list[float] = field(default_factory=list[float])
    top_s: list[float] = field(default_factory=list[float])
    n_refused: int = 0


@contextmanager
def _service(tier: str, options: list[str]) -> Generator[Service]:
    """A server on which the neighbour's tier is `tier`."""
    tessera, port = str(Path(sys.executable).with_name("tessera")), free_port()
    with TemporaryDirectory() as folder:
        plain = {name: value for name, value in os.environ.items() if not name.startswith("TESSERA_")}
        env = plain | {"TESSERA_DATABASE_URL": store_in(folder)}
        command = [tessera, "serve", "--port", str(port), "--log-level", "error", *options]
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                next(line for line in process.stdout if "/v1" in line)
                keys: list[str] = []
                for name, its_tier in (("victim", "scale"), ("top", "enterprise"), ("neighbour", tier)):
                    create = [tessera, "accounts", "create", name, "--tier", its_tier]
                    subprocess.run(create, env=env, check=True, capture_output=True)
                    create = [tessera, "keys", "create", name, "--name", "k", "--json"]
                    made = subprocess.run(create, env=env, check=True, capture_output=True)
                    keys.append(json.loads(made.stdout)["secret"])
                yield Service(port, *keys)
            finally:
                process.terminate()


@contextmanager
def _beside(service: Service, neighbour: Attack) -> Generator[None]:
    """Runs the neighbour in a process of its own; its whole volume is running when this is entered."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.attacks",
        str(service.port),
        service.neighbour,
        neighbour.name,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            if neighbour.generates and not select([process.stdout], [], [], _MOST_BUILDS_UP_S)[0]:
                print(f"{neighbour.name}: not all replies have begun", file=sys.stderr)
            time.sleep(_BUILDS_UP_S)
            yield
        finally:
            process.kill()


class Round:
    """A round of so many seconds."""

    def __init__(self, service: Service, duration_s: float) -> None:
        self.seen = Seen()
        self._service = service
        self._duration_s = duration_s
        self._client = httpx2.AsyncClient(timeout=120)

    async def run(self) -> Seen:
        self._end_s = time.monotonic() + self._duration_s
        victim, top = self._service.victim, self._service.top
        async with self._client:
            await asyncio.gather(
                self._stream(), self._probe(victim, self.seen.first_s), self._probe(top, self.seen.top_s)
            )
        return self.seen

    async def _stream(self) -> None:
        while time.monotonic() < self._end_s:
            _, *times = await self._arrivals(self._service.victim, chat({"max_tokens": 300}))
            self.seen.gaps_s += [later - earlier for earlier, later in itertools.pairwise(times)]

    async def _probe(self, key: str, first_s: list[float]) -> None:
        while time.monotonic() < self._end_s:
            times = await self._arrivals(key, chat({"max_tokens": 1}))
            # The first event only names the role.
            first_s += [times[2] - times[0]] if len(times) > 2 else []
            await asyncio.sleep(_PROBE_EVERY_S)

    async def _arrivals(self, key: str, body: bytes) -> list[float]:
        """When the request was sent, and when each event arrived, until the round ends."""
        times = [time.monotonic()]
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        url = f"http://127.0.0.1:{self._service.port}/v1/chat/completions"
        async with self._client.stream("POST", url, content=body, headers=headers) as response:
            if not response.is_success:
                self.seen.n_refused += 1
                await asyncio.sleep(_PROBE_EVERY_S)
                return times
            async for line in response.aiter_lines():
                if line.startswith("data: {"):
                    times.append(time.monotonic())
                if len(times) > 3 and time.monotonic() > self._end_s:
                    break
        return times


def _watch(service: Service, neighbour: Attack, duration_s: float) -> Seen:
    with _beside(service, neighbour):
        return asyncio.run(Round(service, duration_s).run())


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(len(values) * share), len(values) - 1)] if values else float("nan")


def _row(attack: Attack, rounds: list[tuple[Seen, Seen]]) -> str:
    def median_ms(side: int, figure: str, share: float) -> float:
        return 1e3 * statistics.median(_quantile(getattr(each[side], figure), share) for each in rounds)

    def ratio(figure: str, share: float) -> float:
        both = [[_quantile(getattr(seen, figure), share) for seen in pair] for pair in rounds]
        return statistics.median(attacked / before for before, attacked in both)

    columns = ("gaps_s", 0.99), ("first_s", 0.75), ("top_s", 0.75)
    times = [f"{median_ms(0, *each):.0f} → {median_ms(1, *each):.0f} ms" for each in columns]
    gap, first, top = (ratio(*each) for each in columns)
    is_met = gap <= MOST_GAP and first <= MOST_FIRST
    n_refused = sum(attacked.n_refused for _, attacked in rounds)
    return (
        f"| {attack.name} | {attack.volume} × {attack.n_tokens} | {' | '.join(times)} "
        f"| {gap:.2f}, {first:.2f}, {top:.2f} | {n_refused} | {'yes' if is_met else 'NO'} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.neighbours", description=__doc__)
    parser.add_argument("--seconds", type=float, default=24, help="of each attack, in all rounds together")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tier", default="scale", help="of the neighbour's account")
    parser.add_argument("--only", default="", help="attacks whose name contains this")
    parser.add_argument("options", nargs="*", help="of `tessera serve`, after --")
    chosen = parser.parse_args()
    print(
        "| neighbour | volume | gap, p99 | first token | of the highest tier | ratios | refused | met |\n"
        "|---|---|---|---|---|---|---:|---|",
        flush=True,
    )
    duration_s = chosen.seconds / chosen.rounds
    with _service(chosen.tier, chosen.options) as service:
        _watch(service, honest(16, 200), duration_s)
        for attack in ATTACKS:
            if chosen.only not in attack.name:
                continue
            peers = (attack.honest, attack)
            rounds = [
                tuple(_watch(service, each, duration_s) for each in peers) for _ in range(chosen.rounds)
            ]
            print(_row(attack, [(before, attacked) for before, attacked in rounds]), flush=True)


if __name__ == "__main__":
    main()
