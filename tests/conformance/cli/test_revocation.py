"""Replies that run while their key, or its account, stops being valid."""

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
from tests.conformance.cli.test_accounts import result, run
from tests.serving import Server, ask
from tests.waiting import wait_for

__all__ = ["result", "run"]

SLOW = ("--scripted-tokens-per-s", 10, "--key-cache-s", 0.5)
LONG = {"max_tokens": 1000}  # a minute and more


@dataclass
class Running:
    """A request on a connection of its own, in a thread; `n` counts the lines received."""

    server: Server
    secret: str
    stream: bool
    n: int = 0
    status: int = 0
    body: str = ""
    ended: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        headers = {"Authorization": f"Bearer {self.secret}"}
        url, asked = f"{self.server.url}/v1/chat/completions", ask(**LONG, stream=self.stream)
        with (
            suppress(httpx2.TransportError),  # the test ends while it runs
            httpx2.stream("POST", url, json=asked, headers=headers, timeout=60) as reply,
        ):
            self.status = reply.status_code
            for line in reply.iter_lines():
                self.n += 1
                self.body += line + "\n"
        self.ended.set()


CHANGES: dict[str, tuple[tuple[str, ...], str]] = {
    "revoked": (("keys", "revoke", "KEY"), "invalid_api_key"),
    "expired": ((), "invalid_api_key"),
    "disabled": (("accounts", "disable", "acme"), "invalid_api_key"),
    "for other models": (("keys", "update", "KEY", "--models", "another/model"), "permission_denied"),
}


@pytest.mark.parametrize("n_workers", [1, 2])
@pytest.mark.parametrize("change", CHANGES)
def test_replies_end_when_their_key_is_no_longer_valid(
    service: Callable[..., Server],
    result: Callable[..., Any],
    environment: dict[str, str],
    change: str,
    n_workers: int,
) -> None:
    command, code = CHANGES[change]
    for account in ("acme", "other"):
        result("accounts", "create", account, "--tier", "pro")
    key, spared = (result("keys", "create", account, "--name", "x") for account in ("acme", "other"))
    server = service("--workers", n_workers, *SLOW)
    streams = [Running(server, key["secret"], stream=True) for _ in range(4)]
    whole = [Running(server, key["secret"], stream=False) for _ in range(3)]
    other = Running(server, spared["secret"], stream=True)
    wait_for(lambda: all(each.n > 4 for each in (*streams, other)))

    path = environment["TESSERA_DATABASE_URL"].removeprefix("sqlite:///")
    if command:
        result(*(key["id"] if word == "KEY" else word for word in command))
    else:  # no command sets a date that is over
        with closing(sqlite3.connect(path)) as store, store:
            store.execute("UPDATE keys SET expires_s = 1 WHERE id = ?", [key["id"]])
    assert all(each.ended.wait(60) for each in (*streams, *whole))

    for each in streams:
        assert (each.status, f'"code":"{code}"' in each.body, "[DONE]" in each.body) == (200, True, False)
        assert each.body.rstrip().rpartition("data: ")[2].startswith('{"error":{')
    wanted = 403 if code == "permission_denied" else 401
    assert [(each.status, f'"code":"{code}"' in each.body) for each in whole] == [(wanted, True)] * 3
    assert not other.ended.is_set()
    n_before = other.n
    wait_for(lambda: other.n > n_before + 2)

    with closing(sqlite3.connect(path)) as store:
        rows = store.execute(
            "SELECT finish, completion_tokens FROM usage WHERE key_id = ?", [key["id"]]
        ).fetchall()
    assert [finish for finish, _ in rows] == [code] * 7
    assert all(0 < n_tokens < 1000 for _, n_tokens in rows)
