"""What is answered to requests of every shape: routes, methods, bodies, keys, states of the server."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.conformance.http.conftest import Connect, Gate
from tests.conftest import Serve, Served
from tests.limits import http_limits

from tessera.server.http1.protocol import GuardedProtocol

CHAT = "POST /v1/chat/completions"


def error(body: bytes) -> dict[str, Any]:
    """The error of a body, after a check that the envelope has one key and the error four."""
    envelope = json.loads(body)
    assert set(envelope) == {"error"}
    assert set(envelope["error"]) == {"message", "type", "code", "param"}
    return envelope["error"]


def ask(raw: Any, head: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
    raw.send(head, body, Content_Length=str(len(body)), **headers)
    return raw.read_response()


@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        ("GET /", 404, "not_found"),
        ("GET /v1", 404, "not_found"),
        ("GET /v1/chat/completions/", 404, "not_found"),
        ("GET /v1/models/nobody/nothing", 404, "model_not_found"),
        ("GET /healthz/", 404, "not_found"),
        ("GET /metrics", 404, "not_found"),
        ("GET /v1/chat/completions", 405, "method_not_allowed"),
        ("DELETE /v1/models", 405, "method_not_allowed"),
        ("OPTIONS /v1/chat/completions", 405, "method_not_allowed"),
        ("POST /healthz", 405, "method_not_allowed"),
        ("BREW /v1/models", None, None),
    ],
)
def test_what_is_not_there(
    served: Served, connect: Connect, head: str, status: int | None, code: str | None
) -> None:
    raw = connect(served)
    raw.send(head)
    if status is None:  # not a method of HTTP: the parser's own answer
        assert raw.read_to_the_end().startswith(b"HTTP/1.1 400")
        return
    got, headers, body = raw.read_response()
    assert (got, error(body)["code"]) == (status, code)
    assert error(body)["type"] == "invalid_request_error"
    assert headers["x-should-retry"] == "false"
    assert headers["x-request-id"].startswith("req_")
    assert ("allow" in headers) == (status == 405)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/v1/models", "/v1/models/alias"])
def test_get_and_head(served: Served, connect: Connect, path: str) -> None:
    raw = connect(served)
    assert ask(raw, f"GET {path}")[0] == 200
    raw.send(f"HEAD {path}")
    assert raw.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 200")
    assert ask(raw, f"GET {path}")[0] == 200


@pytest.mark.parametrize(
    "head", ["GET /v1/models", CHAT, "GET /nothing", "OPTIONS /v1/models", "GET /readyz/", "GET //healthz"]
)
def test_without_a_key_everything_else_is_401(served: Served, connect: Connect, head: str) -> None:
    raw = connect(served)
    raw.key = ""
    status, headers, body = ask(raw, head, b"{}", Content_Type="application/json")
    assert (status, error(body)["type"]) == (401, "authentication_error")
    assert headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_needs_no_key_and_says_little(served: Served, connect: Connect, path: str) -> None:
    raw = connect(served)
    raw.key = ""
    status, _, body = ask(raw, f"GET {path}")
    assert status == 200
    assert set(json.loads(body)) == {"status"}


def test_readiness_gives_its_reason_and_chat_is_503_meanwhile(served: Served, connect: Connect) -> None:
    served.engine.reason = "engine_starting"
    raw = connect(served)
    status, _, body = ask(raw, "GET /readyz")
    assert (status, error(body)["code"]) == (503, "engine_starting")
    raw.ask()
    status, headers, body = raw.read_response()
    assert (status, error(body)["type"]) == (503, "overloaded_error")
    assert int(headers["retry-after"]) >= 1
    assert "x-should-retry" not in headers
    assert ask(raw, "GET /healthz")[0] == 200
    served.engine.reason = None
    assert ask(raw, "GET /readyz")[0] == 200


def test_draining_takes_no_more_and_finishes_what_runs(
    serve: Serve, connect: Connect, gate: Callable[[int], Gate]
) -> None:
    hold = gate(1)
    served = serve(timing=hold)
    running, late = connect(served), connect(served)
    running.ask(stream=True, max_tokens=5)
    running.read_until(b"the ")
    served.in_flight.drain()
    late.ask()
    status, headers, body = late.read_response()
    assert (status, error(body)["code"]) == (503, "draining")
    assert "retry-after" in headers
    status, _, body = ask(late, "GET /readyz")
    assert (status, error(body)["code"]) == (503, "draining")
    hold.opened.set()
    running.read_until(b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content_Type": "text/plain"}, 415),
        ({}, 415),
        ({"Content_Type": "application/json", "Content_Encoding": "gzip"}, 415),
        ({"Content_Type": "application/json", "Content_Encoding": "identity"}, 400),
        ({"Content_Type": "application/json; charset=utf-8"}, 400),
    ],
)
def test_types_and_encodings(served: Served, connect: Connect, headers: dict[str, str], status: int) -> None:
    got, _, body = ask(connect(served), CHAT, b"{}", **headers)
    assert got == status
    assert error(body)["type"] == "invalid_request_error"


def test_a_body_over_the_cap_is_413_and_the_connection_lives_on(serve: Serve, connect: Connect) -> None:
    raw = connect(serve(http_limits(max_body_bytes=1000)))
    status, headers, body = ask(raw, CHAT, b" " * 1001, Content_Type="application/json")
    assert (status, error(body)["code"], headers["x-should-retry"]) == (413, "request_too_large", "false")
    assert ask(raw, CHAT, b"{" + b" " * 999, Content_Type="application/json")[0] == 400
    raw.send(CHAT, b"", Content_Type="application/json", Transfer_Encoding="chunked")
    raw.socket.sendall((b"1f4\r\n" + b" " * 500 + b"\r\n") * 3 + b"0\r\n\r\n")
    status, _, body = raw.read_response()
    assert (status, error(body)["code"]) == (413, "request_too_large")


def test_a_body_that_dribbles_is_408_and_closed(serve: Serve, connect: Connect) -> None:
    served = serve(http_limits(body_deadline_s=0.1))
    raw = connect(served)
    raw.send(CHAT, b"{", Content_Type="application/json", Content_Length="50")
    status, headers, body = raw.read_response()
    assert (status, error(body)["code"], headers["connection"]) == (408, "body_timeout", "close")
    assert raw.read_to_the_end() == b""
    served.wait_until_idle()


def test_a_large_body_is_read_in_a_thread(served: Served, connect: Connect) -> None:
    raw = connect(served)
    raw.ask(
        messages=[{"role": "system", "content": "x"}] * 2000 + [{"role": "user", "content": "Hi"}],
        metadata="y" * 300_000,
        max_tokens=1,
    )
    assert raw.read_response()[0] == 200


@pytest.mark.parametrize(("sent", "kept"), [("my-id.1_A", True), ("x" * 129, False), ("a b", False)])
@pytest.mark.parametrize("stream", [True, False])
def test_every_response_has_a_request_id(
    served: Served, connect: Connect, sent: str, kept: bool, stream: bool
) -> None:
    raw = connect(served)
    body = json.dumps(
        {"messages": [{"role": "user", "content": "x"}], "stream": stream, "max_tokens": 1}
    ).encode()
    raw.send(CHAT, body, Content_Type="application/json", Content_Length=str(len(body)), X_Request_Id=sent)
    head = raw.read_until(b"\r\n\r\n").decode()
    assert f"x-request-id: {sent}\r\n" in head if kept else "x-request-id: req_" in head


def test_a_fresh_connection_that_says_nothing_is_closed(
    served: Served, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GuardedProtocol, "head_deadline_s", 2.0)
    silent, dribbling, good = connect(served), connect(served), connect(served)
    dribbling.socket.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: ")
    assert ask(good, "GET /healthz")[0] == 200
    for raw in (silent, dribbling):
        with pytest.raises((ConnectionResetError, AssertionError)):
            raw.read_until(b"never")
