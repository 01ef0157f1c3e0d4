"""Thousands of clients that vanish in every phase leave nothing: no task, no descriptor, no memory."""

import asyncio
import os
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.conformance.http.conftest import Connect
from tests.conftest import Serve, Served
from tests.security.test_clients import STAGES, leave_in
from tests.waiting import wait_for

from tessera.engine.scripted.engine import paced

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")


def held(served: Served) -> tuple[int, int]:
    """The open file descriptors of this process, in which the server runs, and the tasks of the server's
    loop.
    """
    return len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks(served.loop))


def memory_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    "n", [pytest.param(300, id="some"), pytest.param(10_000, id="many", marks=pytest.mark.full)]
)
def test_vanished_clients_leave_nothing(n: int, serve: Serve, connect: Connect) -> None:
    served = serve(timing=paced(500, first_s=0.005))
    chance = random.Random(11)
    stages = [chance.choice(STAGES) for _ in range(n)]

    def vanish(i: int) -> None:
        leave_in(stages[i], connect(served), random.Random(i))

    with ThreadPoolExecutor(30) as pool:
        list(pool.map(vanish, range(60)))
        served.wait_until_idle()
        before, memory = held(served), memory_bytes()
        list(pool.map(vanish, range(n)))
        served.wait_until_idle()
    wait_for(lambda: all(now <= then + 2 for now, then in zip(held(served), before, strict=True)))
    assert memory_bytes() - memory < 48 * 2**20
    raw = connect(served)
    raw.ask(max_tokens=2)
    assert raw.read_response()[0] == 200
    served.wait_until_idle()
