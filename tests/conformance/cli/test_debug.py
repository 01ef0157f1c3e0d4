"""What an operator sees of a real `tessera serve` that is at work: its requests, its tasks, its stacks."""

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
from tests.serving import Server, ask, free_port
from tests.waiting import wait_for

Serve = Callable[..., Server]

ADMIN_KEY = "admin-" + "k" * 40
CANARY = "canary-in-the-crypt"
SLOW = ("--scripted-tokens-per-s", 5, "--max-running", 1)


@contextmanager
def admin_of(port: int) -> Iterator[httpx2.Client]:
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    with httpx2.Client(
        base_url=f"http://127.0.0.1:{port}/admin/debug", headers=headers, timeout=60
    ) as client:
        yield client


def test_requests_are_shown_with_their_steps_and_counts_while_they_run(service: Serve) -> None:
    port = free_port()
    server = service("--admin-port", port, *SLOW, TESSERA_ADMIN_KEY=ADMIN_KEY)
    body = ask(stream=True, max_tokens=1000, messages=[{"role": "user", "content": CANARY}])

    def requests() -> dict[str, Any]:
        shown = admin.get("/requests")
        assert CANARY not in shown.text
        assert shown.json()["process"] == server.process.pid
        return {each["request_id"]: each for each in shown.json()["requests"]}

    with admin_of(port) as admin, server.client() as client:
        assert requests() == {}
        named = {"X-Request-Id": "first"}
        with client.stream("POST", "/v1/chat/completions", json=body, headers=named) as reply:
            pieces = reply.iter_bytes()  # kept, or the connection is closed
            assert next(pieces)
            first = requests()["first"]
            assert (first["account"], first["model"], first["step"]) == (
                "operator",
                "tessera/scripted",
                "first_token",
            )
            assert 0 <= first["waited_s"] <= first["age_s"]
            assert first["prompt_tokens"] > 0
            wait_for(lambda: requests()["first"]["completion_tokens"] > first["completion_tokens"])
        wait_for(lambda: requests() == {})


def test_a_request_that_waits_is_shown_as_queued(service: Serve) -> None:
    port = free_port()
    server = service("--admin-port", port, *SLOW, TESSERA_ADMIN_KEY=ADMIN_KEY)
    body = ask(stream=True, max_tokens=1000)
    with admin_of(port) as admin, server.client() as client:

        def steps() -> list[str]:
            return sorted(each["step"] for each in admin.get("/requests").json()["requests"])

        with client.stream("POST", "/v1/chat/completions", json=body) as reply:
            pieces = reply.iter_bytes()  # kept, or the connection is closed
            assert next(pieces)
            waiting = raw_request(server, body)
            wait_for(lambda: steps() == ["first_token", "queued"])
            (queued,) = [
                each for each in admin.get("/requests").json()["requests"] if each["step"] == "queued"
            ]
            assert queued["waited_s"] > 0
            assert queued["completion_tokens"] == 0
            waiting.close()
            wait_for(lambda: steps() == ["first_token"])


def raw_request(server: Server, body: dict[str, Any]) -> socket.socket:
    """A connection on which a request was sent and nothing is read."""
    host, port = server.url.removeprefix("http://").split(":")
    content = json.dumps(body).encode()
    connection = socket.create_connection((host, int(port)))
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    connection.sendall(head.encode() + content)
    return connection


@pytest.mark.parametrize("workers", [1, 2])
def test_tasks_say_where_they_wait(service: Serve, workers: int) -> None:
    port = free_port()
    server = service("--admin-port", port, "--workers", workers, TESSERA_ADMIN_KEY=ADMIN_KEY)
    with admin_of(port) as admin:
        shown = admin.get("/tasks").json()
        assert shown["process"] == server.process.pid
        assert ("note" in shown) is (workers > 1)
        assert all(set(each) == {"name", "coroutine", "waits_at"} for each in shown["tasks"])
        places = {each["coroutine"]: each["waits_at"] for each in shown["tasks"]}
    waiting = "KeyWatch.run" if workers == 1 else "Workers._keep"
    module = {1: "tessera.access.watch", 2: "tessera.processes.supervision"}[workers]
    assert places[waiting].startswith(f"{module}:")


def test_both_need_the_admin_key(service: Serve) -> None:
    port = free_port()
    server = service("--admin-port", port, TESSERA_ADMIN_KEY=ADMIN_KEY)
    for path in ("requests", "tasks"):
        url = f"http://127.0.0.1:{port}/admin/debug/{path}"
        assert httpx2.get(url, timeout=60).status_code == 401
        assert httpx2.get(url, headers=server.headers, timeout=60).status_code == 401
        with server.client() as client:
            assert client.get(f"/admin/debug/{path}").status_code == 404


@pytest.mark.parametrize("workers", [1, 2])
def test_a_signal_writes_the_stacks_of_a_process_and_changes_nothing_else(
    service: Serve, workers: int
) -> None:
    server = service("--workers", workers)
    processes = [server.process.pid, *server.workers()]
    assert len(processes) == (1 if workers == 1 else 3)
    for id in processes:
        os.kill(id, signal.SIGUSR1)
    with server.client() as client:
        assert client.post("/v1/chat/completions", json=ask()).status_code == 200
    code, log = server.stop()
    assert code == 0
    assert log.count("Current thread") == len(processes)
    assert 'File "' in log
