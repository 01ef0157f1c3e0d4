"""`kill -9` of the server under load: what clients have is what is on record."""

import json
import os
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.serving import Server, wait_for

KEY = "sk-tessera-" + "c" * 40
N_CLIENTS = 8


class Client(threading.Thread):
    """Asks one thing after the other, and keeps what it was told of replies that came whole."""

    def __init__(self, url: str, seed: int) -> None:
        super().__init__()
        self.told: dict[str, tuple[int, int]] = {}
        self.stop = False
        self._url = url
        self._chance = random.Random(seed)

    def run(self) -> None:
        with httpx2.Client(
            base_url=self._url, timeout=20, headers={"Authorization": f"Bearer {KEY}"}
        ) as http:
            while not self.stop:
                try:
                    self._ask(http)
                except httpx2.TransportError:
                    return  # the server is no more

    def _ask(self, http: httpx2.Client) -> None:
        chance = self._chance
        asked: dict[str, Any] = {
            "messages": [{"role": "user", "content": "Hello"}],
            "max_tokens": chance.randint(1, 40),
            "n": chance.choice([1, 2]),
        }
        if chance.random() < 0.5:
            asked |= {"stream": True, "stream_options": {"include_usage": True}}
        text = http.post("/v1/chat/completions", json=asked).raise_for_status().text
        if "stream" in asked:
            if not text.endswith("data: [DONE]\n\n"):
                return
            text = text.split("data: ")[-2]
        reply = json.loads(text)
        usage = reply["usage"]
        self.told[reply["id"]] = usage["prompt_tokens"], usage["completion_tokens"]


def load_and_kill(server: Server, seed: int, more_s: float) -> dict[str, tuple[int, int]]:
    """What clients were told."""
    clients = [Client(server.url, seed + each) for each in range(N_CLIENTS)]
    for client in clients:
        client.start()
    wait_for(lambda: sum(len(client.told) for client in clients) > 10, within_s=20)
    time.sleep(more_s)
    for id in (*server.workers(), server.process.pid):
        os.kill(id, signal.SIGKILL)
    told: dict[str, tuple[int, int]] = {}
    for client in clients:
        client.stop = True
        client.join()
        told |= client.told
    return told


def rows(database: Path) -> dict[str, tuple[int, int, str]]:
    with sqlite3.connect(database) as connection:
        found = connection.execute(
            "SELECT id, prompt_tokens, completion_tokens, finish FROM usage"
        ).fetchall()
    connection.close()
    return {id: (n_prompt, n_completion, finish) for id, n_prompt, n_completion, finish in found}


@pytest.mark.parametrize(
    ("n_rounds", "n_workers"),
    [(2, 1), pytest.param(20, 1, marks=pytest.mark.full), pytest.param(20, 2, marks=pytest.mark.full)],
)
def test_what_arrived_whole_is_on_record_once_with_its_counts(
    service: Callable[..., Server], tmp_path: Path, n_rounds: int, n_workers: int
) -> None:
    chance = random.Random(n_rounds + n_workers)
    database = tmp_path / "store/tessera.db"
    told: dict[str, tuple[int, int]] = {}

    def serve() -> Server:
        pace = ("--scripted-tokens-per-s", 300, "--workers", n_workers)
        return service(*pace, TESSERA_API_KEY=KEY)

    for number in range(n_rounds):
        told |= load_and_kill(serve(), 100 * number, chance.uniform(0, 0.3))
    with serve().client() as client:
        assert client.get("/v1/usage").status_code == 200
    wait_for(lambda: all(finish != "open" for *_, finish in rows(database).values()), within_s=20)
    kept = rows(database)
    assert {id: kept[id][:2] for id in told} == told
    assert {kept[id][2] for id in told} <= {"length", "stop"}
    assert {finish for *_, finish in kept.values()} <= {"length", "stop", "interrupted", "client_gone"}
