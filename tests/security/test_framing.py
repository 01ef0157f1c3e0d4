"""Requests that begin or end otherwise than they seem, on the API's listener and on the admin's."""

import json
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.types import ASGIApp
from tests.unit.server.http1.test_head import LINES

from tessera.access.keys import KeyHasher
from tessera.access.tiers import Tiers
from tessera.http.admin.app import admin_app
from tessera.http.admin.routes import admin_routes
from tessera.server.http1.framing import MAX_HEAD_BYTES
from tessera.server.http1.head import SINGLE
from tessera.store.database import open_database
from tessera.store.migration import upgrade

ADMIN_KEY = "admin-" + "k" * 40
KERNEL_BYTES = 16 * 2**20
"""What the kernel may take of a connection that the server does not read."""


SILENCE_S = 1
"""A server that has answered and says nothing for so long has no further answer."""


@dataclass(frozen=True)
class Listener:
    port: int
    line: bytes
    body: bytes
    key: bytes

    def request(self, *fields: bytes, body: bytes = b"", keyed: bool = True) -> bytes:
        key = [b"Authorization: Bearer " + self.key] if keyed else []
        always = [b"Host: x", b"Content-Type: application/json"]
        return b"\r\n".join([self.line, *always, *key, *fields, b"", b""]) + body

    def chunked(self, body: bytes, after: bytes = b"\r\n", keyed: bool = True) -> bytes:
        chunk = b"%x\r\n%b\r\n0\r\n" % (len(body), body)
        return self.request(b"Transfer-Encoding: chunked", body=chunk + after, keyed=keyed)

    def speak(self, *parts: bytes) -> bytes:
        """Reads until the server closes the connection or, after a first answer, is silent for a moment."""
        said = b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as sock, suppress(OSError):
            for part in parts:
                sock.sendall(part)
            while received := sock.recv(65536):
                said += received
                sock.settimeout(SILENCE_S)
        return said


@pytest.fixture(params=["api", "admin"])
def listener(
    request: pytest.FixtureRequest, tmp_path: Path, run_app: Callable[[ASGIApp], AbstractContextManager[int]]
) -> Iterator[Listener]:
    """A listener of the service, with a request that changes or costs something."""
    if request.param == "api":
        served = request.getfixturevalue("served")
        body = json.dumps({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}).encode()
        yield Listener(served.port, b"POST /v1/chat/completions HTTP/1.1", body, served.key.encode())
        return
    store = open_database(f"sqlite:///{tmp_path / 'tessera.db'}")
    upgrade(store)
    app = admin_app(lambda: b"counts\n", ADMIN_KEY, admin_routes(store, Tiers(), KeyHasher(b"s" * 32)))
    with run_app(app) as port:
        account = json.dumps({"name": "acme", "tier": "lite"}).encode()
        yield Listener(port, b"POST /admin/accounts HTTP/1.1", account, ADMIN_KEY.encode())
    store.dispose()


def refused(said: bytes) -> bool:
    """Whether the server sent one answer, a 400 in the envelope, and closed the connection."""
    head, _, body = said.partition(b"\r\n\r\n")
    assert said.count(b"HTTP/1.1 ") == 1, said
    assert head.startswith(b"HTTP/1.1 400 "), said
    assert b"connection: close" in head
    assert json.loads(body)["error"]["code"] == "invalid_http"
    return True


def good(listener: Listener) -> bool:
    """Whether another client is answered at once."""
    return listener.speak(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").startswith(
        b"HTTP/1.1 200"
    )


def test_a_chunked_body_is_taken(listener: Listener) -> None:
    said = listener.speak(listener.chunked(listener.body, b"X-Checksum: 1\r\n\r\n"))
    assert said[:12] in (b"HTTP/1.1 200", b"HTTP/1.1 201")


def test_a_key_that_is_sent_as_a_trailer_only_is_no_key(listener: Listener) -> None:
    trailer = b"Authorization: Bearer " + listener.key + b"\r\n\r\n"
    for sent in (
        listener.chunked(listener.body, trailer, keyed=False),
        listener.chunked(b"", trailer, keyed=False),
    ):
        assert listener.speak(sent).startswith(b"HTTP/1.1 401")
        # Nor if it is there before the application looks: all in one packet, or in two.
        at = sent.index(b"\r\n\r\n") + 4
        assert listener.speak(sent[:at], sent[at:]).startswith(b"HTTP/1.1 401")


def test_trailers_are_not_fields_of_the_request(
    run_app: Callable[[ASGIApp], AbstractContextManager[int]],
) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        while (await receive())["more_body"]:
            pass
        seen.append([name for name, _ in scope["headers"]])
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    with run_app(app) as port:
        listener = Listener(port, b"POST / HTTP/1.1", b"{}", b"k")
        trailers = b"Content-Type: text/plain\r\nX-Request-Id: 1\r\nHost: y\r\n\r\n"
        assert b" 204 " in listener.speak(listener.chunked(b"{}", trailers))
    assert seen == [[b"host", b"content-type", b"authorization", b"transfer-encoding"]]


ENDLESS = {
    "one trailer": (b"0\r\nX: ", b"a" * 2**16),
    "trailers": (b"0\r\n", b"X: y\r\n" * 10_000),
    "an extension": (b"5;", b"e" * 2**16),
    "extensions": (b"", (b"5;" + b"e" * 1000 + b"\r\nhello\r\n") * 60),
    "small chunks": (b"", b"1\r\nx\r\n" * 10_000),
    "a size": (b"", b"0" * 2**16),
}


@pytest.mark.parametrize("name", ENDLESS)
@pytest.mark.parametrize("keyed", [True, False])
def test_what_has_no_end_is_read_up_to_a_cap(listener: Listener, name: str, keyed: bool) -> None:
    begin, more = ENDLESS[name]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    n_sent = 0
    with (
        socket.create_connection(("127.0.0.1", listener.port), timeout=60) as sock,
        suppress(ConnectionError),
    ):
        sock.sendall(listener.request(b"Transfer-Encoding: chunked", body=begin, keyed=keyed))
        while n_sent < 60_000_000:
            sock.sendall(more)
            n_sent += len(more)
    assert n_sent < KERNEL_BYTES
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 * 1024
    assert good(listener)


def framed(listener: Listener, *fields: bytes) -> bytes:
    """A request that would be answered if the server overlooked some of its fields."""
    named = b"\n".join(fields).lower()
    if b"transfer-encoding" in named:
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(listener.body), listener.body)
        return listener.request(*fields, body=body)
    length = [] if b"content-length" in named else [b"Content-Length: %d" % len(listener.body)]
    return listener.request(*length, *fields, body=listener.body)


@pytest.mark.parametrize("line", [*LINES, b"X: " + b"y" * MAX_HEAD_BYTES], ids=lambda line: repr(line[:40]))
def test_a_head_that_could_be_read_in_two_ways_is_refused(listener: Listener, line: bytes) -> None:
    assert refused(listener.speak(framed(listener, line)))


@pytest.mark.parametrize("name", sorted(SINGLE))
def test_a_field_of_which_there_may_be_one_only(listener: Listener, name: bytes) -> None:
    good = {
        b"content-length": b"%d" % len(listener.body),
        b"transfer-encoding": b"chunked",
        b"authorization": b"Bearer " + listener.key,
        b"content-type": b"application/json",
        b"content-encoding": b"identity",
        b"expect": b"100-continue",
    }
    field = name.title() + b": " + good.get(name, b"y")
    assert refused(listener.speak(framed(listener, field, field)))


def test_a_broken_chunk_is_refused_once_and_whoever_sent_it_has_no_second_answer(listener: Listener) -> None:
    broken = listener.request(b"Transfer-Encoding: chunked", body=b"5\r\nhelloX")
    assert refused(listener.speak(broken + b"\r\n" + listener.request(b"Content-Length: 0")))
    # What was answered before its end was read is not answered again.
    unkeyed = listener.request(b"Transfer-Encoding: chunked", keyed=False)
    with socket.create_connection(("127.0.0.1", listener.port), timeout=60) as sock:
        sock.sendall(unkeyed)
        said = sock.recv(65536)
        sock.sendall(b"zz\r\n")
        while received := sock.recv(65536):
            said += received
    assert said.startswith(b"HTTP/1.1 401")
    assert said.count(b"HTTP/1.1 ") == 1


def test_a_request_within_another_is_never_answered(listener: Listener) -> None:
    inside = b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    for sent in (
        listener.request(b"Content-Length: %d" % len(inside), body=inside),
        listener.chunked(inside),
        listener.chunked(b"{}", b"X: y\r\n\r\n").replace(b"0\r\nX: y", b"0;\r\n" + inside[:-4]),
        listener.request(b"Content-Length: 0", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n" + inside),
    ):
        said = listener.speak(sent)
        assert said.count(b"HTTP/1.1 ") == 1
        assert not said.startswith(b"HTTP/1.1 200")


def test_garbage_is_refused_before_its_end(listener: Listener) -> None:
    for garbage in (b"\x16\x03\x01\x02\x00\x01", b"SSH-2.0-x\r\n", b"GET / HTTP/1.1\r\nno colon\r\n"):
        assert refused(listener.speak(garbage))
