"""Clients that open connections without an end, with a key and without."""

import resource
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress

import pytest
from tests.serving import Server, ask, environment, service, start

__all__ = ["environment", "service", "start"]

CROWDS = {
    "silent": b"",
    "in the middle of a head": b"GET /healthz HTTP/1.1\r\nX: " + b"y" * 1000,
    "answered": b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "refused, with a body to come": b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
    b"Content-Length: 1000\r\n\r\n{",
    "with a key, and a body to come": b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
    b"Authorization: Bearer KEY\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{",
    "that do not read their replies": b"GET /docs/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 20,
}


@pytest.mark.parametrize("crowd", CROWDS)
def test_connections_without_end_leave_files_for_all_others(
    crowd: str, service: Callable[..., Server]
) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, before[1]))
    try:
        server = service("--scripted-tokens-per-s", 10)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    host, port = server.url.removeprefix("http://").split(":")
    with ExitStack() as opened, server.client() as early, server.client() as late:
        running = opened.enter_context(
            early.stream("POST", "/v1/chat/completions", json=ask(max_tokens=20, stream=True))
        )
        for _ in range(400):
            each = opened.enter_context(socket.create_connection((host, int(port)), timeout=60))
            with suppress(ConnectionError):
                each.sendall(CROWDS[crowd].replace(b"KEY", server.key.encode()))
        for _ in range(3):
            assert late.post("/v1/chat/completions", json=ask(max_tokens=1)).status_code == 200
        assert running.read().endswith(b"data: [DONE]\n\n")
    code, log = server.stop()
    assert code == 0
    assert "Traceback" not in log
    assert "cannot be written" not in log
