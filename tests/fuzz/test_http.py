"""Whatever is sent, the answer is ours, in time, and never a 500; and nothing stays behind."""

import json
import random
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass

import pytest
from blockbuster import blockbuster_ctx
from starlette.applications import Starlette
from starlette.types import ASGIApp
from tests.fuzz.messages import SEEDS, Message, make
from tests.limits import http_limits
from tests.scripts import CAN_ALL

from tessera.access.keys import Keys
from tessera.catalog import Catalog, Model
from tessera.engine.scripted.engine import ScriptedEngine, ScriptedTokenizer, saying
from tessera.formats.hermes import HERMES
from tessera.grammars.checker import GrammarCheck
from tessera.http.app import build_app
from tessera.http.service import Service

KEY = "sk-tessera-" + "f" * 40
ANSWERED_WITHIN_S = 60.0
N_CONNECTIONS = 4
FINAL = {400, 401, 403, 404, 405, 413, 415, 422, 431}


@dataclass(frozen=True)
class Target:
    port: int
    app: Starlette
    engine: ScriptedEngine


@pytest.fixture
def target(run_app: Callable[[ASGIApp], AbstractContextManager[int]]) -> Iterator[Target]:
    """A server whose engine always replies `{"a": 1}`, and whose grammars are really tried."""
    tokenizer = ScriptedTokenizer()
    engine = ScriptedEngine(tokenizer, saying(tokenizer, '{"a": 1}'), features=CAN_ALL)
    grammars = GrammarCheck(
        tokenizer.control_tokens, tokenizer.vocabulary_size, HERMES.syntax, deadline_s=300, wait_s=300
    )
    model = Model("m", engine, tokenizer, HERMES, HERMES.sampling, created_s=1, grammars=grammars)
    app = build_app(
        Service(
            catalog=Catalog([model], {"alias": "m"}, "m"),
            keys=Keys([KEY]),
            limits=http_limits(body_deadline_s=2),
        )
    )
    with blockbuster_ctx(), run_app(app) as port:
        yield Target(port, app, engine)


class Connection:
    """A connection that is opened again after it was closed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None
        self._seen = b""

    def exchange(self, message: Message) -> list[tuple[int, dict[str, str], bytes]]:
        """All answers to one message; none if the server closed the connection without one."""
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=ANSWERED_WITHIN_S)
        try:
            self._socket.sendall(message.sent)
        except ConnectionError:  # refused before it was sent: what was said of it is still to be read
            message = Message(b"", framed=False, method=message.method)
        if message.framed:
            return [answer for answer in [self._one(message.method)] if answer]
        # The sender gives up waiting for the rest to be understood, and says that nothing follows.
        self._socket.settimeout(0.05)
        answers = self._rest(message.method)
        self.close()
        return answers

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket, self._seen = None, b""

    def _rest(self, method: str) -> list[tuple[int, dict[str, str], bytes]]:
        answers: list[tuple[int, dict[str, str], bytes]] = []
        try:
            while answer := self._one(method):
                answers.append(answer)
        except TimeoutError:
            pass
        return answers

    def _one(self, method: str) -> tuple[int, dict[str, str], bytes] | None:
        try:
            head = self._until(b"\r\n\r\n")
            while head.startswith(b"HTTP/1.1 100"):
                head = self._until(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").splitlines()
            status = int(first.split()[1])
            headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines if line)}
            body = b"" if method == "HEAD" else self._body(headers)
        except ConnectionError:
            self.close()
            return None
        if headers.get("connection") == "close":
            self.close()
        return status, headers, body

    def _body(self, headers: dict[str, str]) -> bytes:
        if "transfer-encoding" not in headers:
            return self._take(int(headers["content-length"]))
        body = b""
        while size := int(self._until(b"\r\n"), 16):
            body += self._take(size + 2)[:-2]
        self._take(2)
        return body

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._seen:
            self._more()
        end = self._seen.index(mark) + len(mark)
        return self._take(end)

    def _take(self, n: int) -> bytes:
        while len(self._seen) < n:
            self._more()
        taken, self._seen = self._seen[:n], self._seen[n:]
        return taken

    def _more(self) -> None:
        if self._socket is None or not (received := self._socket.recv(65536)):
            raise ConnectionError
        self._seen += received


def check(message: Message, status: int, headers: dict[str, str], body: bytes) -> None:
    """Checks what is true of every answer."""
    shown = (message.sent[:3000], status, headers, body[:500])
    assert "x-request-id" in headers, shown
    if status == 200:
        streamed = headers["content-type"].startswith("text/event-stream")
        assert message.method == "HEAD" or streamed or json.loads(body), shown
        assert not streamed or body.endswith(b"data: [DONE]\n\n") or b'"error"' in body, shown
        return
    # A reply that breaks its schema in the end is the fault of this engine, which knows no grammar.
    assert status in FINAL or status == 408 or (status == 502 and b"generation_failed" in body), shown
    assert headers["content-type"] == "application/json", shown
    assert ("x-should-retry" in headers) == (status in FINAL), shown
    if message.method != "HEAD":
        envelope = json.loads(body)
        assert set(envelope) == {"error"}, shown
        error = envelope["error"]
        assert set(error) == {"message", "type", "code", "param"}, shown
        assert isinstance(error["message"], str), shown
        assert error["message"], shown
        assert len(error["message"]) < 2000, shown
        assert isinstance(error["code"], str), shown


def fuzz(port: int, worker: int, n: int) -> Counter[int]:
    """Sends `n` requests, one after the other; counts the statuses."""
    chance, seen = random.Random(worker), Counter[int]()
    with closing(Connection(port)) as connection:
        for _ in range(n):
            message = make(chance, KEY)
            begun = time.monotonic()
            try:
                # A connection that was idle for long may have been closed meanwhile: that is no answer yet.
                answers = connection.exchange(message) or connection.exchange(message)
            except TimeoutError:
                raise AssertionError(f"no answer to {message.sent[:3000]!r}") from None
            assert time.monotonic() - begun < ANSWERED_WITHIN_S, message.sent[:3000]
            assert answers or not message.framed or message.method == "HEAD", message.sent[:3000]
            for status, headers, body in answers:
                check(message, status, headers, body)
                seen[status] += 1
    return seen


@pytest.mark.parametrize(
    "n", [pytest.param(1_500, id="some"), pytest.param(100_000, id="many", marks=pytest.mark.full)]
)
def test_fuzzed_requests_are_answered_and_leave_nothing(n: int, target: Target) -> None:
    with ThreadPoolExecutor(N_CONNECTIONS) as pool:
        counts = list(pool.map(lambda i: fuzz(target.port, i, n // N_CONNECTIONS), range(N_CONNECTIONS)))
    total = sum(counts, Counter())
    assert total.total() > 0.9 * n, total
    assert {200, 400, 401, 404, 405, 415} <= set(total), total
    assert total[200] > n / 20, total
    begun = time.monotonic()
    while target.engine.n_running or target.app.state.service.in_flight.n:
        assert time.monotonic() - begun < 60
        time.sleep(0.01)
    with closing(Connection(target.port)) as connection:
        ((status, _, _),) = connection.exchange(valid())
    assert status == 200


def valid() -> Message:
    body = json.dumps(SEEDS[0]).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return Message(head.encode() + body)
