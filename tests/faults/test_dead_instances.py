"""One of two servers on a PostgreSQL and a Redis is killed: the other closes what it left open."""

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import select
from tests.postgres import Postgres
from tests.redis_server import RedisServer
from tests.redis_server import redis_server as redis_server
from tests.serving import Server, ask
from tests.waiting import wait_for

from tessera.store.database import open_database, transaction
from tessera.store.tables import INSTANCES, USAGE

KEY = "sk-tessera-" + "d" * 40
N_STREAMS = 4
TIERS = f"{{operator = {{sustained_rpm = 1000, burst_rpm = 1000, concurrency = {N_STREAMS}}}}}"


def listen(server: Server, begun: threading.Semaphore) -> None:
    """Reads a stream until it is cut."""
    asked = ask(stream=True, max_tokens=5000)
    told = False
    with (
        suppress(httpx2.TransportError),
        server.client() as http,
        http.stream("POST", "/v1/chat/completions", json=asked) as reply,
    ):
        for line in reply.iter_lines():
            if not told and '"content"' in line:
                told = True
                begun.release()


def kill_with_streams(server: Server, when: Callable[[], bool]) -> None:
    """Kills all processes of the server while they write."""
    begun = threading.Semaphore(0)
    threads = [threading.Thread(target=listen, args=(server, begun)) for _ in range(N_STREAMS)]
    for thread in threads:
        thread.start()
    assert all(begun.acquire(timeout=60) for _ in threads)
    wait_for(when)
    for id in (*server.workers(), server.process.pid):
        os.kill(id, signal.SIGKILL)
    for thread in threads:
        thread.join()


@pytest.mark.full
@pytest.mark.parametrize(("on_one_machine", "within_s"), [(True, 45), (False, 150)])
def test_the_other_closes_what_a_dead_one_left(
    service: Callable[..., Server],
    postgres: Postgres,
    redis_server: RedisServer,
    tmp_path: Path,
    on_one_machine: bool,
    within_s: float,
) -> None:
    database, counted = postgres.create(f"dead{on_one_machine}"), redis_server.create()

    def serve(folder: str) -> Server:
        return service(
            *("--workers", 2, "--scripted-tokens-per-s", 20, "--log-level", "warning"),
            TESSERA_API_KEY=KEY,
            TESSERA_TIERS=TIERS,
            TESSERA_DATABASE_URL=database,
            TESSERA_PEPPER="p" * 32,
            TESSERA_REDIS_URL=counted,
            XDG_DATA_HOME=str(tmp_path / folder),
        )

    dying, living = serve("one"), serve("one" if on_one_machine else "other")
    store = open_database(database)

    def ends() -> list[str]:
        with transaction(store) as connection:
            return [row.finish for row in connection.execute(select(USAGE.c.finish))]

    def are_known() -> bool:
        """Whether the store knows the requests; on the same machine that is not needed."""
        return on_one_machine or ends() == ["open"] * N_STREAMS

    kill_with_streams(dying, are_known)
    killed_s = time.monotonic()
    with living.client() as client:
        refused = client.post("/v1/chat/completions", json=ask())
    assert refused.json()["error"]["code"] == "concurrency_limit_exceeded"
    if not on_one_machine:  # it takes a minute until anybody knows
        assert ends() == ["open"] * N_STREAMS
    wait_for(lambda: ends() == ["interrupted"] * N_STREAMS, within_s)
    with transaction(store) as connection:
        assert len(connection.execute(select(INSTANCES)).all()) == 2
    if not on_one_machine:  # what they held in Redis has an end of its own, after a minute

        def is_let_in() -> bool:
            with living.client() as client:
                return client.post("/v1/chat/completions", json=ask()).status_code == 200

        wait_for(is_let_in, within_s=150 - (time.monotonic() - killed_s))
    store.dispose()
    assert living.stop()[0] == 0
