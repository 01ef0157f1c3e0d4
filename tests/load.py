"""Clients that ask without a pause and keep what they are told, to be compared with what is on record."""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, TypeAlias

import httpx2
from sqlalchemy import select

from tessera.store.database import open_database, transaction
from tessera.store.tables import USAGE

Told: TypeAlias = dict[str, tuple[int, int]]
"""Tokens of prompt and completion of replies that came whole, by their ids."""


class Client(threading.Thread):
    """Sends one request after the other. `seen` counts statuses with error codes; `cut` are requests without
    a whole answer.
    """

    def __init__(self, url: str, key: str, seed: int) -> None:
        super().__init__()
        self.told: Told = {}
        self.seen = Counter[tuple[int, str | None]]()
        self.cut = 0
        self.slowest_s = 0.0
        self.stop = False
        self._http = httpx2.Client(base_url=url, timeout=60, headers={"Authorization": f"Bearer {key}"})
        self._chance = random.Random(seed)

    def run(self) -> None:
        with self._http:
            while not self.stop:
                begun_s = time.monotonic()
                try:
                    self._ask()
                except httpx2.TransportError:
                    self.cut += 1
                    return
                self.slowest_s = max(self.slowest_s, time.monotonic() - begun_s)

    def _ask(self) -> None:
        chance = self._chance
        asked: dict[str, Any] = {
            "messages": [{"role": "user", "content": "Hello"}],
            "max_tokens": chance.randint(1, 40),
            "n": chance.choice([1, 2]),
        }
        if chance.random() < 0.5:
            asked |= {"stream": True, "stream_options": {"include_usage": True}}
        reply = self._http.post("/v1/chat/completions", json=asked)
        # A proxy in front of the server has errors of its own.
        is_ours = reply.headers.get("content-type", "").startswith("application/json")
        code = reply.json()["error"]["code"] if reply.is_error and is_ours else None
        self.seen[reply.status_code, code] += 1
        if reply.is_error:
            time.sleep(0.05)
            return
        text = reply.text
        if "stream" in asked:
            if not text.endswith("data: [DONE]\n\n"):
                self.seen[200, "broken stream"] += 1
                return
            text = text.split("data: ")[-2]
        whole = json.loads(text)
        self.told[whole["id"]] = whole["usage"]["prompt_tokens"], whole["usage"]["completion_tokens"]


class Load(list[Client]):
    """Clients that run at once."""

    @property
    def n_told(self) -> int:
        return sum(len(client.told) for client in self)

    @property
    def told(self) -> Told:
        return {id: counts for client in self for id, counts in client.told.items()}

    @property
    def seen(self) -> Counter[tuple[int, str | None]]:
        return sum((client.seen for client in self), Counter[tuple[int, str | None]]())

    @property
    def slowest_s(self) -> float:
        return max(client.slowest_s for client in self)

    def end(self) -> None:
        for client in self:
            client.stop = True
        for client in self:
            client.join()


@contextmanager
def load(*urls: str, key: str, n: int = 8, seed: int = 0) -> Generator[Load]:
    """Runs `n` clients of each of these servers until the context ends."""
    clients = Load(Client(url, key, seed + each) for each in range(n) for url in urls)
    for client in clients:
        client.start()
    try:
        yield clients
    finally:
        clients.end()


def recorded(database: str) -> dict[str, tuple[int, int, str]]:
    """The prompt tokens, completion tokens and finish reasons of all rows, by their ids."""
    store = open_database(database)
    columns = (USAGE.c[name] for name in ("id", "prompt_tokens", "completion_tokens", "finish"))
    with transaction(store) as connection:
        rows = {
            row.id: (row.prompt_tokens, row.completion_tokens, row.finish)
            for row in connection.execute(select(*columns))
        }
    store.dispose()
    return rows


def require_recorded(told: Told, database: str, *, ends: frozenset[str]) -> None:
    """Checks that all replies are on record with the counts that clients received, and that every row has one
    of these ends.
    """
    kept = recorded(database)
    assert {id: kept[id][:2] for id in told if id in kept} == told
    assert {kept[id][2] for id in told} <= {"length", "stop"}
    assert {end for *_, end in kept.values()} <= ends
