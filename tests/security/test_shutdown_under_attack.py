"""SIGTERM ends the server within its grace, whatever is done to it at that moment.

The bounds are ten times what an idle machine needs: a server that waits for an attacker never ends.
"""

import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.serving import Server, announced, command, environment, start
from tests.tiny_model import byte_words, write_gguf
from tests.waiting import wait_for

__all__ = ["environment", "start"]

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")

GRACE_S, BOUND_S = 1, 300
PATIENCE_S = 60
DRIP_S = 0.05
GREETING = {"role": "user", "content": "Hello"}
LONG = 30_000
LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
TEMPLATE = (
    "{% for m in messages %}{% if m.content | length > 999 %}" + LOOP + "{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)
DEAR_TO_COMPILE = {
    "type": "string",
    "allOf": [{"pattern": f"(a|{chr(98 + i)})*.{{{i + 3}}}"} for i in range(20)],
}
DEAR_MASKS = {"type": "string", "pattern": "a.{20}b", "maxLength": 2000}


class Attacker:
    """Connections that stay open, and threads that send endlessly."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._port = int(server.url.rpartition(":")[2])
        self._sockets: list[socket.socket] = []
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def connect(self, receive_bytes: int | None = None) -> socket.socket:
        opened = socket.socket()
        if receive_bytes:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        opened.settimeout(PATIENCE_S)
        opened.connect(("127.0.0.1", self._port))
        self._sockets.append(opened)
        return opened

    def head(self, *lines: str) -> bytes:
        named = ["POST /v1/chat/completions HTTP/1.1", "Host: x", f"Authorization: Bearer {self.server.key}"]
        return "\r\n".join([*named, "Content-Type: application/json", *lines, "", ""]).encode()

    def post(self, **fields: Any) -> bytes:
        body = json.dumps({"messages": [GREETING], "max_tokens": LONG, **fields}).encode()
        return self.head(f"Content-Length: {len(body)}") + body

    def send(self, sent: bytes, *, n: int = 1, first: bytes = b"", receive_bytes: int | None = None) -> None:
        """Sends on `n` connections, each of which waits until the server has sent `first`."""
        opened = [self.connect(receive_bytes) for _ in range(n)]
        for each in opened:
            each.sendall(sent)
        for each in opened:
            said = b""
            while first not in said:
                received = each.recv(100)
                assert received, said
                said += received

    def drip(self, sent: bytes, endless: bytes) -> None:
        """Sends, and then a little more from time to time, as long as the connection lasts."""
        opened = self.connect()
        opened.sendall(sent)

        def go_on() -> None:
            with suppress(OSError):
                while not self._stopping.wait(DRIP_S):
                    opened.sendall(endless)

        self._threads.append(threading.Thread(target=go_on, daemon=True))
        self._threads[-1].start()

    def check_service(self) -> None:
        """Returns when the server has answered another client, and so has read what was sent before."""
        with self.server.client() as client:
            assert client.get("/healthz", timeout=PATIENCE_S).status_code == 200

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)
        for each in self._sockets:
            each.close()


def family(server: Server) -> set[int]:
    """All processes that descend from the server's."""
    found, new = set[int](), {server.process.pid}
    while new:
        found |= new
        new = {child for id in new for child in _children_of_all_threads(id)} - found
    return found - {server.process.pid}


def _children_of_all_threads(id: int) -> set[int]:
    with suppress(OSError):
        paths = [*Path(f"/proc/{id}/task").glob("*/children")]
        return {int(child) for path in paths for child in path.read_text().split()}
    return set()


def processor_s(module: str, server: Server) -> float:
    """The processor time that the processes of a module, and their forks, have used."""
    ticks = 0
    for id in family(server):
        if module in command(id):
            with suppress(OSError):
                fields = Path(f"/proc/{id}/stat").read_text().rpartition(")")[2].split()
                ticks += sum(map(int, fields[11:15]))
    return ticks / 100


def at_work(attacker: Attacker, module: str) -> None:
    """Returns when processes of that module compute."""
    before = processor_s(module, attacker.server)
    wait_for(lambda: processor_s(module, attacker.server) != before)


def schema(asked: dict[str, Any], *, strict: bool = True) -> dict[str, Any]:
    named = {"name": "s", "schema": asked, "strict": strict}
    return {"type": "json_schema", "json_schema": named}


def dear_schemas(attacker: Attacker) -> None:
    for i in range(12):
        attacker.send(attacker.post(response_format=schema({**DEAR_TO_COMPILE, "title": str(i)})))
    at_work(attacker, "tessera.grammars.process")


def slow_bodies(attacker: Attacker) -> None:
    sized, chunked = attacker.head("Content-Length: 100000"), attacker.head("Transfer-Encoding: chunked")
    for _ in range(10):
        attacker.drip(sized + b"{", b" ")
        attacker.drip(chunked, b"1\r\n \r\n")


def endless_trailers(attacker: Attacker) -> None:
    chunked = attacker.head("Transfer-Encoding: chunked") + b"2\r\n{}\r\n0\r\n"
    for line in (b"X: ", b"X: y\r\n"):
        for _ in range(5):
            attacker.drip(chunked + line, b"y" if line == b"X: " else b"")


def endless_heads(attacker: Attacker) -> None:
    for _ in range(10):
        attacker.drip(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: ", b"y")


def unread_streams(attacker: Attacker) -> None:
    attacker.send(attacker.post(stream=True, logprobs=True, top_logprobs=5), n=10, receive_bytes=2048)


def unread_pages(attacker: Attacker) -> None:
    pages = b"GET /docs/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 20
    attacker.send(pages, n=20, first=b"HTTP/1.1 200", receive_bytes=2048)


def pipelined(attacker: Attacker) -> None:
    for stream, first in ((True, b"data: "), (False, b"")):
        once = attacker.post(stream=stream)
        attacker.send(once + once, n=3, first=first)
        attacker.send(once + b"\x00garbage\r\n\r\n" * 9_000, n=3, first=first)


def half_closed(attacker: Attacker) -> None:
    for stream in (True, False):
        for _ in range(5):
            opened = attacker.connect()
            opened.sendall(attacker.post(stream=stream))
            opened.shutdown(socket.SHUT_WR)


def many_choices(attacker: Attacker) -> None:
    attacker.send(attacker.post(stream=True, n=8), n=8, first=b"data: ")
    attacker.send(attacker.post(n=8), n=40)


def idle_connections(attacker: Attacker) -> None:
    attacker.send(b"", n=100)
    attacker.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", n=50, first=b"\r\n\r\n")


def clients_that_left(attacker: Attacker) -> None:
    for _ in range(20):
        attacker.connect().sendall(attacker.post())
    attacker.stop()


def everything(attacker: Attacker) -> None:
    for name in ATTACKS:
        if name not in ("everything", "clients that left"):
            ATTACKS[name](attacker)


ATTACKS: dict[str, Callable[[Attacker], None]] = {
    "everything": everything,
    "dear schemas": dear_schemas,
    "slow bodies": slow_bodies,
    "endless trailers": endless_trailers,
    "endless heads": endless_heads,
    "streams that are not read": unread_streams,
    "pages that are not read": unread_pages,
    "a second request behind the first": pipelined,
    "clients that have closed their side": half_closed,
    "many choices": many_choices,
    "idle connections": idle_connections,
    "clients that left": clients_that_left,
}


@dataclass(frozen=True)
class Ending:
    """How a server ended while it was attacked."""

    code: int
    log: str
    took_s: float


@pytest.fixture
def attackers() -> Iterator[Callable[[Server], Attacker]]:
    made: list[Attacker] = []

    def one(server: Server) -> Attacker:
        made.append(Attacker(server))
        return made[-1]

    yield one
    for each in made:
        each.stop()


def end(server: Server) -> Ending:
    """Sends SIGTERM and waits; all descendants of the server have to end with it."""
    running = family(server)
    assert running
    begun = time.monotonic()
    server.send(signal.SIGTERM)
    _, log = server.process.communicate(timeout=BOUND_S)
    took_s = time.monotonic() - begun
    wait_for(lambda: not any("tessera." in command(id) for id in running))
    return Ending(server.process.returncode, log, took_s)


def check(ending: Ending) -> None:
    assert ending.code == 0, ending.log
    for said in ("Traceback", "met a bug", "does not end, killed"):
        assert said not in ending.log, ending.log


TOKENS_PER_S = {"streams that are not read": 0}
"""Of the scripted engine, where 20 are too few to fill what lies between server and client; 0 is no pace."""
ALONE = [
    pytest.param(name, 1, marks=[] if name == "everything" else pytest.mark.full, id=name) for name in ATTACKS
]


@pytest.mark.parametrize(("attack", "workers"), [*ALONE, pytest.param("everything", 2, id="two workers")])
def test_sigterm_ends_the_server_under_attack(
    start: Callable[..., Any], attackers: Callable[[Server], Attacker], attack: str, workers: int
) -> None:
    pace = ("--scripted-tokens-per-s", TOKENS_PER_S.get(attack, 20))
    times = ("--shutdown-grace-s", GRACE_S, "--drain-delay-s", 0, "--workers", workers)
    server = announced(start("serve", "--port", 0, "--engine", "scripted", *pace, *times))
    attacker = attackers(server)
    ATTACKS[attack](attacker)
    attacker.check_service()
    check(end(server))


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose template loops for long messages."""
    path = tmp_path_factory.mktemp("model") / "tiny.gguf"
    write_gguf(path, byte_words(tags_are_tokens=True), template=TEMPLATE)
    return path


def looping_template(attacker: Attacker) -> None:
    for _ in range(6):
        attacker.send(attacker.post(messages=[{"role": "user", "content": "x" * 1000}]))
    at_work(attacker, "tessera.formats.template_process")


def dear_masks(attacker: Attacker) -> None:
    form = schema(DEAR_MASKS, strict=False)
    attacker.send(attacker.post(response_format=form, n=8, stream=True, temperature=2), first=b"data: ")


ENGINE_ATTACKS: dict[str, Callable[[Attacker], None]] = {
    "looping template": looping_template,
    "dear masks": dear_masks,
}


@pytest.mark.live
@pytest.mark.parametrize("attack", ENGINE_ATTACKS)
def test_sigterm_ends_the_engine_under_attack(
    start: Callable[..., Any], attackers: Callable[[Server], Attacker], tiny_model: Path, attack: str
) -> None:
    times = ("--shutdown-grace-s", GRACE_S, "--drain-delay-s", 0)
    server = announced(start("serve", "--port", 0, "--model", tiny_model, *times))
    attacker = attackers(server)
    ENGINE_ATTACKS[attack](attacker)
    attacker.check_service()
    check(end(server))
