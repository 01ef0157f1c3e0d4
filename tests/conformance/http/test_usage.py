"""Every request that was admitted has exactly one row, with what it took and how it ended."""

import json
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import Engine, select
from tests.conformance.http.conftest import Gate, Raw
from tests.conftest import Served
from tests.limits import http_limits
from tests.scripts import CAN_ALL, called
from tests.waiting import wait_for

from tessera.access.capacity import Capacity
from tessera.core.usage import LedgerEntry, Usage, day_of
from tessera.engine.scripted.engine import cycling, failing, paced, saying
from tessera.errors import GenerationFailed
from tessera.observe.metrics import Metrics
from tessera.store.database import open_database, transaction
from tessera.store.migration import upgrade
from tessera.store.tables import USAGE
from tessera.store.usage import write
from tessera.usage.journal.files import decode
from tessera.usage.ledger import SqlLedger

CANARY = "canary-in-the-lamp-room"
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
Serve = Callable[..., Any]


@dataclass
class Books:
    """A service with a ledger on a store of its own."""

    path: Path
    store: Engine
    metrics: Metrics = field(default_factory=Metrics)

    def ledger(self, **options: Any) -> SqlLedger:
        return SqlLedger(
            self.store,
            self.path / "spool",
            self.metrics,
            **{"retention_days": 90, "heartbeat_s": 0.1, **options},
        )

    def rows(self) -> list[Any]:
        with transaction(self.store) as connection:
            return list(connection.execute(select(USAGE).order_by(USAGE.c.begun_s)))

    def shown(self, metric: str, **labels: str) -> float:
        value = self.metrics.registry.get_sample_value(f"tessera_{metric}", labels)
        assert value is not None
        return value


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    store = open_database(f"sqlite:///{tmp_path / 'tessera.db'}")
    upgrade(store)
    yield Books(tmp_path, store)
    store.dispose()


def post(served: Served, **fields: Any) -> httpx2.Response:
    asked = {"messages": [{"role": "user", "content": CANARY}], **fields}
    headers = {"Authorization": f"Bearer {served.key}"}
    url = f"{served.url}/v1/chat/completions"
    return httpx2.post(url, json=asked, headers=headers, timeout=60, trust_env=False)


def usage_of(reply: httpx2.Response) -> tuple[str, dict[str, Any]]:
    """The reply's id and the usage that the client received."""
    if reply.headers["content-type"] == "application/json":
        told = reply.json()
    else:
        lines = [line.removeprefix("data: ") for line in reply.text.splitlines() if line.startswith("data: ")]
        assert lines[-1] == "[DONE]"
        told = json.loads(lines[-2])
    return told["id"], told["usage"]


def counts(row: Any) -> dict[str, Any]:
    return {
        "prompt_tokens": row.prompt_tokens,
        "completion_tokens": row.completion_tokens,
        "total_tokens": row.prompt_tokens + row.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": row.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": row.reasoning_tokens},
    }


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("said", "fields", "finish"),
    [
        ("one two three", {}, "stop"),
        ("one two three", {"max_tokens": 3}, "length"),
        ("one two three", {"n": 2}, "stop"),
        ("<think>\nwell\n</think>\n\nyes", {"chat_template_kwargs": {"enable_thinking": True}}, "stop"),
        (called("look"), {"tools": [TOOL]}, "tool_calls"),
    ],
    ids=["stop", "length", "n=2", "thinking", "tools"],
)
def test_a_reply_that_arrives_is_on_record_with_its_counts(
    serve: Serve, books: Books, stream: bool, said: str, fields: dict[str, Any], finish: str
) -> None:
    served = serve(ledger=books.ledger(), features=CAN_ALL)
    served.engine.script = saying(served.tokenizer, said)
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    id, told = usage_of(post(served, **fields, **options))
    (row,) = books.rows()  # at once: it was there before the reply's end was sent
    assert (row.id, counts(row), row.finish, row.streamed) == (id, told, finish, stream)
    assert (row.account_id, row.key_id, row.model) == (
        "operator",
        "operator-kkkk",
        served.engine.info.model_id,
    )
    assert row.mode == ("thinking" if "chat_template_kwargs" in fields else "direct")
    assert (row.reasoning_tokens > 0) == (row.mode == "thinking")
    assert 0 <= row.waited_s <= row.first_token_s <= row.whole_s < 20
    assert abs(row.begun_s - time.time()) < 60


def test_the_beginning_is_on_record_before_the_first_byte(
    serve: Serve, books: Books, connect: Callable[..., Raw], gate: Callable[[int], Gate]
) -> None:
    held = gate(2)
    served = serve(ledger=books.ledger(), timing=held)
    raw = connect(served)
    raw.ask(stream=True, max_tokens=4)
    first = raw.read_until(b'"choices"')
    (written,) = (books.path / "spool").glob("*.running.jsonl")
    (entry,) = decode(written.read_bytes().splitlines())
    assert entry.finish == "open"
    assert entry.id.encode() in first
    # What runs is written down while it runs.
    wait_for(lambda: [row.completion_tokens for row in books.rows()] == [2])
    assert [(row.id, row.finish) for row in books.rows()] == [(entry.id, "open")]
    held.opened.set()
    raw.read_until(b"[DONE]")
    assert [(row.finish, row.completion_tokens) for row in books.rows()] == [("length", 4)]
    assert decode(written.read_bytes().splitlines()) == []


def test_what_fails_is_on_record_and_what_is_refused_is_not(serve: Serve, books: Books) -> None:
    served = serve(
        ledger=books.ledger(), limits=http_limits(deadline_s=2), capacity=Capacity(1, 0), timing=paced(100)
    )
    script = served.engine.script
    assert post(served, n=99).status_code == 400
    assert post(served, model="none").status_code == 404
    served.engine.script = failing(script, GenerationFailed("broken"), after=0)
    assert post(served).status_code == 502
    served.engine.script = failing(script, GenerationFailed("broken"), after=3)
    assert "generation_failed" in post(served, stream=True).text
    served.engine.script = cycling(served.tokenizer)
    assert post(served).status_code == 504
    late = post(served, stream=True)
    assert "engine_timeout" in late.text
    served.wait_until_idle()
    assert [row.finish for row in books.rows()] == ["generation_failed"] * 2 + ["engine_timeout"] * 2
    assert [row.completion_tokens for row in books.rows()[:2]] == [0, 3]
    assert all(row.prompt_tokens > 0 for row in books.rows())


def test_a_failed_stream_ends_when_its_end_is_on_record(
    serve: Serve, books: Books, connect: Callable[..., Raw]
) -> None:
    served = serve(ledger=books.ledger())
    served.engine.script = failing(served.engine.script, GenerationFailed("broken"), after=3)
    raw = connect(served)
    with closing(sqlite3.connect(books.path / "tessera.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        raw.ask(stream=True)
        raw.read_until(b"generation_failed")
        (spooled,) = (books.path / "spool").glob("*.usage.jsonl")
        (entry,) = decode(spooled.read_bytes().splitlines())
        assert (entry.finish, entry.usage.completion_tokens) == ("generation_failed", 3)
        other.rollback()


@pytest.mark.parametrize("n_requests", [12, pytest.param(150, marks=pytest.mark.full)])
def test_what_is_abandoned_costs_what_the_engine_said(
    serve: Serve, books: Books, connect: Callable[..., Raw], n_requests: int
) -> None:
    emitted = 0
    chance = random.Random(7)
    served = serve(ledger=books.ledger(), timing=paced(200), capacity=Capacity(8, 100))
    play = cycling(served.tokenizer)

    def counting(prompt: Any, sequence: int) -> Iterator[int]:
        nonlocal emitted
        for token in play(prompt, sequence):
            emitted += 1
            yield token

    served.engine.script = counting
    pauses = [chance.choice([0, 0.01, 0.05, 0.15]) for _ in range(n_requests)]

    def leave_after(pause_s: float) -> None:
        raw = connect(served)
        stream, max_tokens, n = chance.random() < 0.6, chance.choice([5, 500]), chance.choice([1, 2])
        raw.ask(stream=stream, max_tokens=max_tokens, n=n)
        if pause_s == 0.15 and stream:
            raw.read_until(b"data: ")
        time.sleep(pause_s)
        raw.leave()

    for begin in range(0, n_requests, 10):
        threads = [
            threading.Thread(target=leave_after, args=(pause,)) for pause in pauses[begin : begin + 10]
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    served.wait_until_idle()
    wait_for(lambda: all(row.finish != "open" for row in books.rows()))
    rows = books.rows()
    assert 0 < len(rows) <= n_requests
    assert {row.finish for row in rows} <= {"client_gone", "length"}
    assert sum(row.completion_tokens for row in rows) == emitted


def test_without_the_store_the_spool_takes_it_and_the_store_gets_it_later(serve: Serve, books: Books) -> None:
    served = serve(ledger=books.ledger())
    usage_of(post(served, max_tokens=2))
    assert (books.shown("store_up"), books.shown("spool_entries")) == (1, 0)
    assert books.shown("store_call_seconds_count", call="usage") >= 1
    with sqlite3.connect(books.path / "tessera.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")  # nobody else can write
        ids = [usage_of(post(served, max_tokens=n))[0] for n in (3, 4)]
        assert len(books.rows()) == 1
        (spool,) = (books.path / "spool").glob("*.usage.jsonl")
        assert spool.read_bytes().count(b"\n") == 2
        assert CANARY.encode() not in spool.read_bytes()
        wait_for(lambda: (books.shown("store_up"), books.shown("spool_entries")) == (0, 2))
        other.execute("ROLLBACK")
    other.close()
    wait_for(lambda: len(books.rows()) == 3 and not spool.stat().st_size)
    rows = {row.id: row for row in books.rows()}
    assert [(rows[id].finish, rows[id].completion_tokens) for id in ids] == [("length", 3), ("length", 4)]
    wait_for(lambda: (books.shown("store_up"), books.shown("spool_entries")) == (1, 0))
    assert books.shown("ledger_failures_total") >= 1
    assert books.shown("store_call_seconds_sum", call="usage") > 2  # until it was given up


def test_where_nothing_can_be_recorded_nothing_is_served(serve: Serve, books: Books) -> None:
    (books.path / "spool").write_text("not a folder")
    with transaction(books.store) as connection:
        USAGE.drop(connection)
    served = serve(ledger=books.ledger())
    for stream in (False, True):
        refused = post(served, stream=stream)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store_unavailable")
    served.wait_until_idle()


def test_content_is_nowhere(serve: Serve, books: Books, capfd: pytest.CaptureFixture[str]) -> None:
    served = serve(ledger=books.ledger())
    served.engine.script = saying(served.tokenizer, CANARY)
    assert CANARY in post(served).text
    assert post(served, stream=True).text.endswith("[DONE]\n\n")
    books.store.dispose()
    files = [path for path in books.path.rglob("*") if path.is_file()]
    assert len(files) >= 2
    assert [path for path in files if CANARY.encode() in path.read_bytes()] == []
    assert CANARY not in "".join(capfd.readouterr())


def test_one_can_ask_what_one_has_used(serve: Serve, books: Books) -> None:
    served = serve(ledger=books.ledger())
    for n in (2, 3):
        post(served, max_tokens=n)
    stranger = LedgerEntry(
        "chatcmpl-x", "acc_other", "key_other", "m", "direct", True, time.time(), Usage(9, 9, 9, 9)
    )
    with transaction(books.store) as connection:
        write(connection, "i", [stranger])

    def ask(query: str) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {served.key}"}
        return httpx2.get(f"{served.url}/v1/usage{query}", headers=headers, trust_env=False, timeout=60)

    today = day_of(time.time())
    n_prompt = books.rows()[0].prompt_tokens
    counted = {
        "requests": 2,
        "failed": 0,
        "prompt_tokens": 2 * n_prompt,
        "cached_tokens": 0,
        "completion_tokens": 5,
        "reasoning_tokens": 0,
    }
    for query in ("", "?by=day", f"?since={today}&until={today}"):
        told = ask(query).json()
        assert told["object"] == "usage"
        assert (told["rows"], told["totals"]) == ([{"day": today, **counted}], counted)
    assert ask("?by=model").json()["rows"] == [{"model": served.engine.info.model_id, **counted}]
    assert ask("?until=2001-01-01").json()["rows"] == []
    for query, param in (("?by=account", "by"), ("?since=soon", "since"), ("?until=2024-13-01", "until")):
        refused = ask(query)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
    assert httpx2.get(f"{served.url}/v1/usage", trust_env=False, timeout=60).status_code == 401
