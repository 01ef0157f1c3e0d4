"""`kill -9` of the server under load: what clients have is what is on record."""

import os
import random
import signal
import time
from collections.abc import Callable

import pytest
from tests.load import Told, load, recorded, require_recorded
from tests.serving import Server, wait_for

KEY = "sk-tessera-" + "c" * 40
ENDS = frozenset({"length", "stop", "interrupted", "client_gone"})


def load_and_kill(server: Server, seed: int, more_s: float) -> Told:
    """What clients were told."""
    with load(server.url, key=KEY, seed=seed) as clients:
        wait_for(lambda: clients.n_told > 10, within_s=20)
        time.sleep(more_s)
        for id in (*server.workers(), server.process.pid):
            os.kill(id, signal.SIGKILL)
    assert set(clients.seen) == {(200, None)}
    return clients.told


@pytest.mark.parametrize(
    ("n_rounds", "n_workers"),
    [(2, 1), pytest.param(20, 1, marks=pytest.mark.full), pytest.param(20, 2, marks=pytest.mark.full)],
)
def test_what_arrived_whole_is_on_record_once_with_its_counts(
    service: Callable[..., Server], database: str, n_rounds: int, n_workers: int
) -> None:
    chance = random.Random(n_rounds + n_workers)
    told: Told = {}

    def serve() -> Server:
        pace = ("--scripted-tokens-per-s", 300, "--workers", n_workers)
        store = {"TESSERA_DATABASE_URL": database, "TESSERA_PEPPER": "p" * 32}
        return service(*pace, TESSERA_API_KEY=KEY, **store)

    for number in range(n_rounds):
        told |= load_and_kill(serve(), 100 * number, chance.uniform(0, 0.3))
    with serve().client() as client:
        assert client.get("/v1/usage").status_code == 200
    wait_for(lambda: all(finish != "open" for *_, finish in recorded(database).values()), within_s=20)
    require_recorded(told, database, ends=ENDS)
