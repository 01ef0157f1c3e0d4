"""One account holds as many bodies back as it can, at a real server with the default budgets."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.cli.test_accounts import result, run
from tests.serving import Server, environment, service, start

__all__ = ["environment", "result", "run", "service", "start"]

MIB = 2**20
N_CONNECTIONS = 150
ASKED = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1, "user": ""}
HUGE = json.dumps(ASKED | {"user": "u" * (8 * MIB - len(json.dumps(ASKED)))}).encode()
SMALL = json.dumps(ASKED).encode()


def peak_bytes(server: Server) -> int:
    """The peak memory of the server's process."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024


class Connection:
    def __init__(self, server: Server, key: str) -> None:
        self.port = int(server.url.rpartition(":")[2])
        self.key = key
        self.status = 0

    async def ask(self, body: bytes, ending: asyncio.Event | None = None) -> None:
        """Sends the body, whose last byte waits for `ending`, and reads the status."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode())
        sending = asyncio.create_task(self._send(writer, memoryview(body), ending))
        try:
            self.status = int((await reader.readuntil(b"\r\n")).split()[1])
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            writer.close()

    async def _send(
        self, writer: asyncio.StreamWriter, body: memoryview, ending: asyncio.Event | None
    ) -> None:
        for at in range(0, len(body) - 1, 64 * 1024):
            writer.write(body[at : min(at + 64 * 1024, len(body) - 1)])
            await writer.drain()
        if ending:
            await ending.wait()
        writer.write(body[-1:])


@pytest.mark.parametrize("n_accounts", [1, 3])
def test_bodies_held_back_cost_no_more_than_the_budget_and_others_are_answered(
    service: Callable[..., Server], result: Callable[..., Any], n_accounts: int
) -> None:
    names = [f"small-{i}" for i in range(n_accounts)]
    for name in names:
        result("accounts", "create", name, "--tier", "lite")
    keys = [result("keys", "create", name, "--name", "x")["secret"] for name in names]
    # Nobody reads the log: a line for each request would fill its pipe.
    server = service("--scripted-tokens-per-s", 10_000, "--body-deadline-s", 300, "--log-level", "warning")

    async def attack() -> tuple[int, list[int], Counter[int]]:
        idle_bytes, ending = peak_bytes(server), asyncio.Event()
        held = [Connection(server, keys[i % n_accounts]) for i in range(N_CONNECTIONS)]
        tasks = [asyncio.create_task(connection.ask(HUGE, ending)) for connection in held]
        others = [Connection(server, server.key) for _ in range(6)]
        for other, body in zip(others, (SMALL, HUGE, SMALL, HUGE, SMALL, HUGE), strict=True):
            await other.ask(body)
        ending.set()
        n_turns: list[int] = []
        for _ in range(5):
            n_before = sum(task.done() for task in tasks)
            await Connection(server, server.key).ask(SMALL)
            n_turns.append(sum(task.done() for task in tasks) - n_before)
        await asyncio.gather(*tasks)
        assert [other.status for other in others] == [200] * 6
        return peak_bytes(server) - idle_bytes, n_turns, Counter(each.status for each in held)

    grown_bytes, n_turns, statuses = asyncio.run(asyncio.wait_for(attack(), 300))
    # The budget, copies of the bodies that are decoded, and what the server has received of those that wait.
    assert grown_bytes < n_accounts * 16 * MIB + 100 * MIB
    assert max(n_turns) < 20
    assert statuses.keys() <= {200, 429}
    assert statuses[200] > 10
