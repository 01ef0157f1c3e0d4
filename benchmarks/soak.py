"""Mixed load with aborts for a long time: what grows?

Clients ask for all that the service offers, and a third of them leave, in every phase of a request. Every few
seconds the memory and the file descriptors of the service's processes are read, and the gauges. The memory of
a process is flat if its median over the last third of the run is not above those over the other thirds.
"""

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Literal, TypeAlias

from benchmarks.servers import free_port, store_in
from benchmarks.soak_load import ADMIN_KEY, KEY, Load, Service
from benchmarks.soak_model import write_xml_model

_EVERY_S = 5.0
# The engine prepares itself for larger batches while nothing is asked; that is not what the load costs.
_SETTLES_S = 20.0
_NOISE_SHARE, _NOISE_KIB = 0.03, 8 * 1024
Verdict: TypeAlias = Literal["flat", "grows"]


@contextmanager
def service(name: str, *flags: str) -> Iterator[Service]:
    port, admin_port = free_port(), free_port()
    command = [str(Path(sys.executable).with_name("tessera")), "serve", "--port", str(port)]
    # The KV cache and kept grammars grow up to their settings: small ones are soon full, and hide no slope.
    command += ["--admin-port", str(admin_port), "--grammar-bytes", "64MiB", "--log-level", "error", *flags]
    with TemporaryDirectory() as folder:
        environment = os.environ | {
            "TESSERA_API_KEY": KEY,
            "TESSERA_ADMIN_KEY": ADMIN_KEY,
            "TESSERA_DATABASE_URL": store_in(folder),
            "TESSERA_KEY_CACHE_S": "1",
        }
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                next(line for line in process.stdout if "/v1" in line)
                yield Service(name, process.pid, port, admin_port)
            finally:
                process.terminate()


@dataclass(frozen=True, slots=True)
class Reading:
    """The state of the services after `n_requests`: anonymous memory in KiB, by process."""

    at_s: float
    n_requests: int
    resident_kib: dict[str, int]
    n_files: int
    gauges: dict[str, float]


def family(pid: int) -> Iterator[int]:
    yield pid
    with suppress(OSError):  # it has ended meanwhile
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in children.read_text().split():
                yield from family(int(child))


_ROLES = {
    "tessera.grammars.process": "grammars",
    "tessera.schemas.validation_process": "validation",
    "tessera.engine.host.worker": "engine",
    "tessera.formats.template_process": "templates",
    "tessera.engine.scripted.replies_process": "replies",
    "tessera serve": "api",
}


def read_process(pid: int) -> tuple[str, int, int]:
    """The name of a process, its anonymous resident memory in KiB, and its open files. Raises `OSError` if it
    has ended.
    """
    command = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    role = next((role for part, role in _ROLES.items() if part in command), "other")
    found = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return role, int(found[1]) if found else 0, len(os.listdir(f"/proc/{pid}/fd"))


async def read_gauges(served: Service) -> dict[str, float]:
    """The gauges of work and of memory, from the admin listener."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.admin_port)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    said = (await reader.read(-1)).decode()
    writer.close()
    wanted = r"^tessera_(num_requests_\w+|engine_(?!steps)\w+|kv_cache_usage_perc)(?:\{.*\})? (\S+)$"
    found = re.findall(wanted, said, re.MULTILINE)
    return {f"{served.name} {name}": float(value) for name, value in found}


async def observe(services: Sequence[Service], load: Load, begun_s: float) -> Reading:
    resident: Counter[str] = Counter()
    gauges: dict[str, float] = {}
    n_files = 0
    for served in services:
        gauges |= await read_gauges(served)
        for pid in list(family(served.pid)):
            try:
                role, kib, n_open = read_process(pid)
            except OSError:  # a fork of the grammar process lives for milliseconds
                continue
            resident[f"{served.name} {role}"] += kib
            n_files += n_open
    at_s = round(time.monotonic() - begun_s, 1)
    return Reading(at_s, load.outcomes.total(), dict(resident), n_files, gauges)


def thirds(readings: Sequence[Reading], process: str) -> tuple[float, float, float]:
    """The medians of a process's memory in the thirds of the run, in KiB."""
    values = [reading.resident_kib[process] for reading in readings if process in reading.resident_kib]
    size = max(1, len(values) // 3)
    return median(values[:size]), median(values[size : 2 * size] or values), median(values[-size:])


def verdict(first_kib: float, middle_kib: float, last_kib: float) -> Verdict:
    """Whether the last third is above both others by more than readings vary: processes that end and are
    started again go up and down.
    """
    return "flat" if last_kib <= max(first_kib, middle_kib) * (1 + _NOISE_SHARE) + _NOISE_KIB else "grows"


def table(readings: Sequence[Reading]) -> str:
    """A line for each process that existed most of the time."""
    names = Counter(name for reading in readings for name in reading.resident_kib)
    lines = [
        "| process | first third, MiB | middle | last | most | verdict |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for name, n_seen in sorted(names.items()):
        if n_seen < len(readings) / 2:
            continue
        first, middle, last = thirds(readings, name)
        most = max(reading.resident_kib.get(name, 0) for reading in readings)
        mebibytes = " | ".join(f"{kib / 1024:.0f}" for kib in (first, middle, last, most))
        lines.append(f"| {name} | {mebibytes} | {verdict(first, middle, last)} |")
    return "\n".join(lines)


async def soak(services: Sequence[Service], minutes: float, clients: int, seed: int, json_file: Path) -> None:
    """Runs the load for that time; takes a reading every few seconds, and one when all clients have left."""
    await asyncio.sleep(_SETTLES_S)
    begun_s = time.monotonic()
    end_s = begun_s + 60 * minutes
    load = Load(services, seed)
    readings: list[Reading] = []
    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(load.client(end_s))
        group.create_task(load.revoker(end_s))
        while time.monotonic() < end_s:
            await asyncio.sleep(_EVERY_S)
            readings.append(await observe(services, load, begun_s))
            report(readings[-1])
            if len(readings) % 24 == 0:
                print(table(readings), flush=True)
                write(json_file, readings, load)
    await asyncio.sleep(2)
    last = await observe(services, load, begun_s)
    print(table(readings))
    print(json.dumps({"outcomes": dict(sorted(load.outcomes.items())), "at the end": asdict(last)}, indent=1))
    write(json_file, [*readings, last], load)


def report(reading: Reading) -> None:
    memory = {name: kib // 1024 for name, kib in sorted(reading.resident_kib.items())}
    busy = {name: value for name, value in reading.gauges.items() if value and name.startswith("main")}
    line = f"{reading.at_s:6.0f} s {reading.n_requests:7} MiB {memory} files {reading.n_files}"
    print(line, json.dumps(busy), flush=True)


def write(json_file: Path, readings: Sequence[Reading], load: Load) -> None:
    """Writes all readings so far."""
    found = {"outcomes": dict(load.outcomes), "readings": [asdict(each) for each in readings]}
    json_file.write_text(json.dumps(found, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/soak.json"), help="where to write")
    chosen = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        model = write_xml_model(folder)
        main_service = stack.enter_context(service("main", "--kv-cache-bytes", "192MiB"))
        xml_flags = ("--model", str(model), "--cache-dir", str(folder), "--kv-cache-bytes", "16MiB")
        xml_service = stack.enter_context(service("xml", *xml_flags))
        asyncio.run(
            soak([main_service, xml_service], chosen.minutes, chosen.clients, chosen.seed, chosen.json)
        )


if __name__ == "__main__":
    main()
