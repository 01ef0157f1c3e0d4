"""PostgreSQL stops, or hangs, under load, and comes back: who is served, and what is on record."""

import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from tests.load import Load, load, recorded, require_recorded
from tests.postgres import Postgres
from tests.serving import Server
from tests.waiting import wait_for

from tessera.access.keys import KeyHasher, generate_key
from tessera.access.pepper import find_pepper
from tessera.store import accounts, keys
from tessera.store.database import open_database, transaction
from tessera.store.keys import Terms
from tessera.store.migration import upgrade

PEPPER = "p" * 32
ANSWER_S = 3.0
"""Nobody waits longer for the store, as the documentation says."""

SLACK_S = 12
"""What a busy machine may add; the longest outage lasts longer than both."""

UNKNOWN = (503, "store_unavailable")
OUTAGES = {"stopped": (Postgres.stop, Postgres.start), "hanging": (Postgres.pause, Postgres.resume)}


def make_keys(database: str, n: int) -> list[str]:
    """Creates keys of one account."""
    hasher = KeyHasher(find_pepper(PEPPER, None))
    store = open_database(database)
    upgrade(store)
    secrets = [generate_key() for _ in range(n)]
    with transaction(store) as changes:
        account = accounts.create(changes, "acme", "enterprise", by="test")
        for each in secrets:
            keys.create(
                changes, account, Terms("dev"), digest=hasher.digest(each), last4=each[-4:], by="test"
            )
    store.dispose()
    return secrets


def answer(server: Server, key: str, path: str = "/v1/models") -> tuple[int, str | None, float]:
    """The status, the error's code, and the seconds until the answer."""
    begun_s = time.monotonic()
    reply = httpx2.get(server.url + path, headers={"Authorization": f"Bearer {key}"}, timeout=60)
    code = reply.json()["error"]["code"] if reply.is_error else None
    return reply.status_code, code, time.monotonic() - begun_s


def probe(server: Server, unused: str, for_s: float) -> Counter[tuple[int, str | None]]:
    """Counts the answers that keys get which no process has seen before."""
    until_s = time.monotonic() + for_s
    seen = Counter[tuple[int, str | None]]()
    while time.monotonic() < until_s:
        for key in (unused, generate_key()):
            status, code, took_s = answer(server, key)
            assert took_s < ANSWER_S + SLACK_S
            seen[status, code] += 1
        time.sleep(0.05)
    return seen


def spooled(folder: Path) -> int:
    return sum(os.stat(path).st_size for path in folder.rglob("*.usage.jsonl"))


def pass_on(clients: Load, n: int) -> None:
    """Waits until the clients have received `n` more replies."""
    before = clients.n_told
    wait_for(lambda: clients.n_told >= before + n)


@pytest.mark.parametrize(
    ("outage", "away_s"),
    [
        ("stopped", 1.5),
        pytest.param("stopped", 20, marks=pytest.mark.full),
        pytest.param("hanging", 4, marks=pytest.mark.full),
        pytest.param("hanging", 20, marks=pytest.mark.full),
    ],
)
def test_what_is_known_goes_on_and_everything_is_on_record_afterwards(
    service: Callable[..., Server], own_postgres: Postgres, tmp_path: Path, outage: str, away_s: float
) -> None:
    leave, come_back = OUTAGES[outage]
    database = own_postgres.create("away")
    used, unused, third = make_keys(database, 3)
    server = service(
        *("--workers", 2, "--scripted-tokens-per-s", 500, "--key-cache-s", 1, "--log-level", "warning"),
        TESSERA_DATABASE_URL=database,
        TESSERA_PEPPER=PEPPER,
        XDG_DATA_HOME=str(tmp_path / "own"),
    )
    with load(server.url, key=used, n=8) as clients:
        pass_on(clients, 20)
        leave(own_postgres)
        assert set(probe(server, unused, away_s)) == {UNKNOWN}
        assert answer(server, used, "/v1/usage")[:2] == UNKNOWN
        assert spooled(tmp_path) > 0
        come_back(own_postgres)
        wait_for(lambda: answer(server, unused)[0] == 200)
        wait_for(lambda: answer(server, third, "/v1/usage")[0] == 200)
        pass_on(clients, 20)
        # Under load too, nothing stays in the spool.
        wait_for(lambda: spooled(tmp_path) == 0)
    assert set(clients.seen) == {(200, None)}
    assert clients.slowest_s < ANSWER_S + SLACK_S
    # Each of the two processes finds out by itself that the store is back.
    wait_for(lambda: answer(server, generate_key())[:2] == (401, "invalid_api_key"))
    wait_for(lambda: all(finish != "open" for *_, finish in recorded(database).values()))
    require_recorded(clients.told, database, ends=frozenset({"length", "stop"}))
    if outage == "hanging":  # it does not keep the server from ending
        leave(own_postgres)
    assert server.stop()[0] == 0
