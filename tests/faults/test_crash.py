"""`kill -9` of the server under load: what clients have is what is on record."""

import json
import os
import random
import signal
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from functools import partial
from typing import cast

import pytest
from tests.load import Told, load, recorded, require_recorded
from tests.serving import Server
from tests.waiting import wait_for

KEY = "sk-tessera-" + "c" * 40
ENDS = frozenset({"length", "stop", "interrupted", "client_gone"})


def serve_on(service: Callable[..., Server], database: str, n_workers: int, tokens_per_s: int) -> Server:
    """Starts the same server each time."""
    pace = ("--scripted-tokens-per-s", tokens_per_s, "--workers", n_workers)
    return service(*pace, TESSERA_API_KEY=KEY, TESSERA_DATABASE_URL=database, TESSERA_PEPPER="p" * 32)


def kill(server: Server) -> None:
    for id in (*server.workers(), server.process.pid):
        os.kill(id, signal.SIGKILL)


def load_and_kill(server: Server, seed: int, more_s: float) -> Told:
    """Runs clients, then kills the server; returns what the clients were told."""
    with load(server.url, key=KEY, seed=seed) as clients:
        wait_for(lambda: clients.n_told > 10)
        time.sleep(more_s)
        kill(server)
    assert set(clients.seen) == {(200, None)}
    return clients.told


def begin(stack: ExitStack, server: Server) -> str:
    """Starts a stream that goes on until the context ends; returns its id."""
    asked = {"messages": [{"role": "user", "content": "Hello"}], "stream": True}
    client = stack.enter_context(server.client())
    reply = stack.enter_context(client.stream("POST", "/v1/chat/completions", json=asked))
    # Its lines are a generator, which closes the stream when it is collected.
    lines = stack.enter_context(closing(cast("Generator[str]", reply.iter_lines())))
    return json.loads(next(lines).removeprefix("data: "))["id"]


@pytest.mark.parametrize("n_workers", [1, 2])
def test_whatever_was_begun_is_on_record_as_interrupted(
    service: Callable[..., Server], database: str, n_workers: int
) -> None:
    serve = partial(serve_on, service, database, n_workers, 20)
    server = serve()
    with ExitStack() as stack:
        begun = {begin(stack, server) for _ in range(8)}
        kill(server)
    serve()
    wait_for(lambda: {id for id, (*_, end) in recorded(database).items() if end == "interrupted"} == begun)


@pytest.mark.parametrize(
    ("n_rounds", "n_workers"),
    [(2, 1), pytest.param(20, 1, marks=pytest.mark.full), pytest.param(20, 2, marks=pytest.mark.full)],
)
def test_what_arrived_whole_is_on_record_once_with_its_counts(
    service: Callable[..., Server], database: str, n_rounds: int, n_workers: int
) -> None:
    chance = random.Random(n_rounds + n_workers)
    told: Told = {}
    serve = partial(serve_on, service, database, n_workers, 300)
    for number in range(n_rounds):
        told |= load_and_kill(serve(), 100 * number, chance.uniform(0, 0.3))
    with serve().client() as client:
        assert client.get("/v1/usage").status_code == 200
    wait_for(lambda: all(finish != "open" for *_, finish in recorded(database).values()))
    require_recorded(told, database, ends=ENDS)
