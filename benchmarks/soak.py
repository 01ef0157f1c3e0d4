"""Mixed load with aborts for a long time: what grows?

Clients ask for all that the service offers, and a third of them leave in the middle. Every ten seconds the
memory and the file descriptors of the service's processes are read, and the gauges that must come back to
nothing. The slope of the memory over requests is a least-squares line through the second half of the run.
"""

import argparse
import asyncio
import json
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.servers import free_port, store_in

_CITY = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}, "required": ["city"]}
_TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": _CITY}}]
_SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "schema": _CITY, "strict": True}}
_KINDS: dict[str, dict[str, Any]] = {
    "chat": {},
    "long": {"filler": 400},
    "choices": {"n": 3},
    "tools": {"tools": _TOOLS, "tool_choice": "required"},
    "schema": {"response_format": _SCHEMA},
    "logprobs": {"logprobs": True, "top_logprobs": 5},
    "wrong": {"temperature": 9},
}
_EVERY_S = 10.0
_LEAVES = 1 / 3
# The engine prepares itself for larger batches while nothing is asked; that is not what the load costs.
_SETTLES_S = 20.0

_KEY = "sk-tessera-" + "s" * 40


@dataclass(frozen=True, slots=True)
class Service:
    """A running `tessera serve`."""

    pid: int
    port: int
    admin_port: int


@contextmanager
def service() -> Iterator[Service]:
    """`tessera serve` with the embedded model, ready."""
    port, admin_port = free_port(), free_port()
    command = [str(Path(sys.executable).with_name("tessera")), "serve", "--port", str(port)]
    # The KV cache is touched little by little: a small one is soon all in memory, and then hides no slope.
    command += ["--admin-port", str(admin_port), "--kv-cache-bytes", "192MiB", "--log-level", "warning"]
    with TemporaryDirectory() as folder:
        environment = os.environ | {"TESSERA_API_KEY": _KEY, "TESSERA_DATABASE_URL": store_in(folder)}
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            next(line for line in process.stdout if "/v1" in line)
            yield Service(process.pid, port, admin_port)
            process.terminate()


@dataclass(frozen=True, slots=True)
class Reading:
    """The state of the service after `n_requests`. Memory in KiB, by process."""

    at_s: float
    n_requests: int
    resident_kib: dict[str, int]
    n_files: int
    gauges: dict[str, float]


class Load:
    """Clients that ask at random until they are told to stop."""

    def __init__(self, port: int, seed: int) -> None:
        self._port = port
        self._random = random.Random(seed)
        self.outcomes: Counter[str] = Counter()

    async def client(self, until_s: float) -> None:
        """One request after the other."""
        while time.monotonic() < until_s:
            kind = self._random.choice([*_KINDS])
            try:
                outcome = await asyncio.wait_for(self._ask(kind), 120)
            except (OSError, TimeoutError) as error:
                outcome = type(error).__name__
            self.outcomes[f"{kind}: {outcome}"] += 1

    async def _ask(self, kind: str) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(self._request(kind))
            if self._random.random() < _LEAVES:
                with suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(-1), self._random.expovariate(3))
                return "left"
            said = await reader.read(-1)
            return said[9:12].decode()
        finally:
            writer.close()

    def _request(self, kind: str) -> bytes:
        asked = dict(_KINDS[kind])
        filler = " and then" * asked.pop("filler", 0)
        text = f"Number {self._random.random()}: tell me about a city.{filler}"
        asked |= {"messages": [{"role": "user", "content": text}], "stream": self._random.random() < 0.7}
        body = json.dumps({"max_tokens": self._random.randint(1, 48), **asked}).encode()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {_KEY}\r\n"
            f"Content-Type: application/json\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


def family(pid: int) -> Iterator[int]:
    """The process and all its descendants."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            yield from family(int(child))


def read_process(pid: int) -> tuple[str, int, int]:
    """What it is, its resident memory in KiB, its open files."""
    command = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    role = next((role for role in ("grammar", "openvino", "serve") if role in command), "other")
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return role, int(found[1]) if found else 0, len(os.listdir(f"/proc/{pid}/fd"))


def slope(readings: list[Reading], role: str) -> float:
    """KiB per 10,000 requests, least squares over the second half."""
    half = [r for r in readings[len(readings) // 2 :] if role in r.resident_kib]
    if len(half) < 3:
        return 0.0
    xs, ys = [r.n_requests for r in half], [r.resident_kib[role] for r in half]
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((each - x) ** 2 for each in xs) or 1
    return 1e4 * sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / spread


async def read_gauges(port: int) -> dict[str, float]:
    """The gauges of the admin listener that tell of work."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    said = (await reader.read(-1)).decode()
    writer.close()
    wanted = r"^tessera_(num_requests_\w+|engine_sequences_\w+|kv_cache_usage_perc)(?:\{.*\})? (\S+)$"
    return {name: float(value) for name, value in re.findall(wanted, said, re.MULTILINE)}


async def observe(served: Service, load: Load, begun_s: float) -> Reading:
    """Look at everything once."""
    processes = [read_process(pid) for pid in family(served.pid)]
    resident: Counter[str] = Counter()
    for role, kib, _ in processes:
        resident[role] += kib
    return Reading(
        round(time.monotonic() - begun_s, 1),
        load.outcomes.total(),
        dict(resident),
        sum(n_files for _, _, n_files in processes),
        await read_gauges(served.admin_port),
    )


async def soak(served: Service, minutes: float, clients: int, seed: int) -> tuple[list[Reading], Load]:
    """Load for so long; a reading every few seconds, and one when all have left."""
    await asyncio.sleep(_SETTLES_S)
    begun_s = time.monotonic()
    load = Load(served.port, seed)
    readings: list[Reading] = []
    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(load.client(begun_s + 60 * minutes))
        while time.monotonic() < begun_s + 60 * minutes:
            await asyncio.sleep(_EVERY_S)
            readings.append(await observe(served, load, begun_s))
            last = readings[-1]
            print(
                f"{last.at_s:6.0f} s {last.n_requests:7} {last.resident_kib} {last.n_files} {last.gauges}",
                flush=True,
            )
    await asyncio.sleep(2)
    readings.append(await observe(served, load, begun_s))
    return readings, load


def main() -> None:
    """Run, print what grew, write all readings."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/soak.json"), help="where to write")
    chosen = parser.parse_args()
    with service() as served:
        readings, load = asyncio.run(soak(served, chosen.minutes, chosen.clients, chosen.seed))
    roles = sorted(readings[-1].resident_kib)
    slopes = {role: round(slope(readings, role)) for role in roles}
    found = {"slope_kib_per_10000_requests": slopes, "outcomes": dict(sorted(load.outcomes.items()))}
    chosen.json.write_text(json.dumps({**found, "readings": [asdict(each) for each in readings]}, indent=1))
    print(json.dumps({**found, "at the end": asdict(readings[-1])}, indent=1))


if __name__ == "__main__":
    main()
