"""What went wrong in servers of this kind, by its public id: what needs a server to be shown."""

import gzip
import json
import logging
import socket
from collections.abc import Iterator

import httpx2
import pytest
from starlette.routing import Route
from tests.conftest import Served

from tessera.engine.scripted.engine import failing, saying
from tessera.http.middleware import PUBLIC_PATHS
from tessera.wire import reply

BODY = {"messages": [{"role": "user", "content": "canary-prompt"}], "max_tokens": 20}


@pytest.fixture
def client(served: Served) -> Iterator[httpx2.Client]:
    headers = {"Authorization": f"Bearer {served.key}"}
    with httpx2.Client(base_url=served.url, headers=headers, trust_env=False, timeout=60) as client:
        yield client


CLOSE = "Connection: close\r\n\r\n"


def speak(served: Served, request: bytes) -> bytes:
    """The server's answer to raw bytes, until it closes the connection or, after a first answer, is
    silent.
    """
    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as sock:
        said = b""
        try:
            sock.sendall(request)
            while received := sock.recv(65536):
                said += received
                sock.settimeout(1)
        except (TimeoutError, ConnectionError):
            pass
        return said


def test_every_route_needs_a_key_but_health(served: Served) -> None:
    routes = [route for route in served.app.routes if isinstance(route, Route)]
    assert len(routes) == len(served.app.routes) >= 5
    with httpx2.Client(base_url=served.url, trust_env=False, timeout=60) as client:
        for route in routes:
            for method in ("GET", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH"):
                status = client.request(method, route.path.replace("{id:path}", "x/y")).status_code
                assert (status == 401) is (route.path not in PUBLIC_PATHS), (method, route.path)


@pytest.mark.parametrize(
    "path",
    [
        "/invocations",
        "/pause",
        "/tokenize",
        "/docs",
        "/openapi.json",
        "/metrics",
        "/healthz/x",
        "/v1/../healthz",
        "/HEALTHZ",
    ],
)
def test_vLLMs_open_routes_no_path_is_open_by_its_prefix(served: Served, path: str) -> None:
    assert speak(served, f"GET {path} HTTP/1.1\r\nHost: x\r\n{CLOSE}".encode()).startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize("host", ["x/healthz?", "x/healthz#", "healthz", "x@y/healthz?a="])
@pytest.mark.parametrize(
    "target", ["/v1/models", "http://x/v1/models", "/v1/models?x=/healthz", "/v1/models#/healthz"]
)
def test_CVE_2026_48710_the_host_header_opens_nothing(served: Served, host: str, target: str) -> None:
    said = speak(served, f"GET {target} HTTP/1.1\r\nHost: {host}\r\n{CLOSE}".encode())
    assert said.split(b" ")[1] in {b"401", b"400"}


def test_CVE_2026_54283_forms_are_refused_unread(client: httpx2.Client) -> None:
    form = "&".join(f"f{i}=1" for i in range(100_000))
    reply = client.post(
        "/v1/chat/completions", content=form, headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert reply.status_code == 415


def test_a_decompression_bomb_is_refused_unread(client: httpx2.Client) -> None:
    bomb = gzip.compress(b" " * 10_000_000)
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert client.post("/v1/chat/completions", content=bomb, headers=headers).status_code == 415


def test_CVE_2025_48956_heads_are_capped(served: Served, client: httpx2.Client) -> None:
    for head in (
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Big: " + b"a" * 1_000_000 + b"\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"X-A: b\r\n" * 10_000 + b"\r\n",
        b"GET /healthz?" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Endless: " + b"a" * 20_000_000,
    ):
        for sent in (
            head,
            head.replace(b"Host: x\r\n", b"Host: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"),
        ):
            assert b" 200 " not in speak(served, sent)
    assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "framing",
    [
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\nGET /v1/models HTTP/1.1\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\rxx\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"Content-Length: -1\r\n\r\n",
    ],
)
@pytest.mark.parametrize("wish", ["", "Upgrade: h2c\r\nConnection: Upgrade\r\n"])
def test_CVE_2025_43859_ambiguous_framing_is_refused(served: Served, wish: str, framing: bytes) -> None:
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {served.key}\r\n"
        f"Content-Type: application/json\r\n{wish}"
    )
    said = speak(served, head.encode() + framing)
    assert said.startswith(b"HTTP/1.1 400")
    assert said.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("sent", [b"a\x0bb", b"a b", b"<x>", b"x" * 500, b"\xff\xfe"])
def test_log_injection_a_strange_request_id_is_replaced(served: Served, sent: bytes) -> None:
    said = speak(
        served,
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Request-Id: " + sent + b"\r\n\r\n",
    )
    assert b"x-request-id: req_" in said or said.startswith(b"HTTP/1.1 400")
    assert sent not in said


def test_header_injection_names_of_ignored_fields_are_made_harmless(client: httpx2.Client) -> None:
    strange = {
        "a\r\nSet-Cookie: x=1": 1,
        "ü": 1,
        "n" * 100: 1,
        "fine-name": 1,
        **{f"f{i}": 1 for i in range(1000)},
    }
    reply = client.post("/v1/chat/completions", json={**BODY, **strange})
    assert reply.status_code == 200
    assert "set-cookie" not in reply.headers
    assert reply.headers["x-tessera-ignored-params"].startswith("?, ?, ?, fine-name, f0, ")
    assert len(reply.headers["x-tessera-ignored-params"]) < 1000


def test_CVE_2024_9606_CVE_2025_0330_CVE_2025_11203_neither_keys_nor_content_are_logged_or_shown(
    served: Served, client: httpx2.Client, caplog: pytest.LogCaptureFixture
) -> None:
    canaries = ["canary-prompt", "canary-reply", "canary-bug", served.key]
    shown: list[str] = []
    with caplog.at_level(logging.DEBUG, logger="tessera"):
        served.engine.script = saying(served.tokenizer, "canary-reply")
        client.post("/v1/chat/completions", json=BODY)
        bug = ValueError("canary-bug canary-prompt")
        for after in (0, 2):
            served.engine.script = failing(saying(served.tokenizer, "canary-reply"), bug, after)
            shown += [
                client.post("/v1/chat/completions", json={**BODY, "stream": stream}).text
                for stream in (False, True)
            ]
        shown.append(client.post("/v1/chat/completions", json={**BODY, "temperature": 9}).text)
        shown.append(client.get("/v1/models", headers={"Authorization": f"Bearer {served.key}x"}).text)
        shown += [client.get(path).text for path in ("/healthz", "/readyz", "/v1/models")]
    assert "ValueError" in caplog.text
    for canary in canaries:
        assert canary not in caplog.text
        assert canary not in "".join(shown)


def test_a_whole_error_is_json_whatever_was_asked(client: httpx2.Client) -> None:
    for content in (b"", b"\xff", b"null", b"[1]", json.dumps({"messages": 1}).encode()):
        reply = client.post(
            "/v1/chat/completions", content=content, headers={"Content-Type": "application/json"}
        )
        assert reply.status_code == 400
        assert reply.json()["error"]["type"] == "invalid_request_error"


def test_what_cannot_be_read_is_logged_with_its_cause_and_the_id_that_the_client_sees(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    said = speak(served, b"GET /healthz HTTP/1.1\r\nHost: a@b\r\n\r\n")
    (line,) = (record for record in caplog.records if record.getMessage() == "invalid HTTP")
    fields = line.__dict__["fields"]
    assert fields["reason"] == "Host is not the name of a host."
    assert fields["client"] == "127.0.0.1"
    assert f"x-request-id: {fields['trace_id']}\r\n".encode() in said


def test_a_reply_that_is_refused_for_its_size_counts(
    client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has cost the engine as much as any other."""
    monkeypatch.setattr(reply, "MAX_SCORE_BYTES", 100)
    refused = [client.post("/v1/chat/completions", json={**BODY, "logprobs": True}) for _ in range(2)]
    assert [each.status_code for each in refused] == [400, 400]
    left = [int(each.headers["x-ratelimit-remaining-requests"]) for each in refused]
    assert left[0] - left[1] == 1
