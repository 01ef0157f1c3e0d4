"""Ten times the load that can be answered: memory stays flat, the refused hear so, the rest is answered."""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

KEY = "sk-tessera-" + "o" * 40
MAX_RUNNING, MAX_QUEUED = 20, 20
BODY = json.dumps({"messages": [{"role": "user", "content": "x" * 5_000}], "max_tokens": 20, "stream": True})
REQUEST = (
    f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
    f"Content-Type: application/json\r\nConnection: close\r\nContent-Length: {len(BODY)}\r\n\r\n{BODY}"
).encode()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    flags = {
        "engine": "scripted",
        "port": 0,
        "scripted-tokens-per-s": 100,
        "max-running": MAX_RUNNING,
        "max-queued": MAX_QUEUED,
        "queue-deadline-s": 60,
        "log-level": "error",
    }
    command = [str(Path(sys.executable).with_name("tessera")), "serve"]
    command += [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    environment = os.environ | {"TESSERA_API_KEY": KEY, "TESSERA_CACHE_DIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout is not None
        told = next(found for line in process.stdout if (found := re.search(r":(\d+)/v1", line)))
        yield process, int(told[1])
        process.terminate()


async def ask(port: int) -> str:
    """Sends one request; returns the status, or what is wrong with the reply."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST)
    said = await asyncio.wait_for(reader.read(-1), 60)
    writer.close()
    await writer.wait_closed()
    status = said.split(b" ")[1].decode()
    if status == "200" and b"data: [DONE]" not in said:
        return "cut"
    if status == "503" and (b"retry-after" not in said or b'"engine_overloaded"' not in said):
        return "503 without its words"
    return status


async def load(port: int, n_clients: int, for_s: float) -> Counter[str]:
    """Runs clients that ask again as soon as they are answered; counts the outcomes."""
    outcomes: Counter[str] = Counter()
    until_s = time.monotonic() + for_s

    async def client() -> None:
        while time.monotonic() < until_s:
            outcome = await ask(port)
            outcomes[outcome] += 1
            await asyncio.sleep(0.1 if outcome == "503" else 0)

    await asyncio.gather(*(client() for _ in range(n_clients)))
    return outcomes


def resident_kib(process: subprocess.Popen[str]) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", status)
    assert found
    return int(found[1])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_ten_times_the_load_costs_no_memory(server: tuple[subprocess.Popen[str], int]) -> None:
    process, port = server
    bearable = asyncio.run(load(port, MAX_RUNNING, 0.5))
    assert set(bearable) == {"200"}
    before_kib = resident_kib(process)
    rounds = [asyncio.run(load(port, 10 * (MAX_RUNNING + MAX_QUEUED), 1.5)) for _ in range(2)]
    growth_kib = resident_kib(process) - before_kib
    assert growth_kib < 40 * 2**10
    for outcomes in rounds:
        assert set(outcomes) == {"200", "503"}
        assert outcomes["200"] >= MAX_RUNNING
    assert set(asyncio.run(load(port, MAX_RUNNING, 0.2))) == {"200"}
