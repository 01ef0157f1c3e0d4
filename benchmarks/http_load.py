"""A client of many streams on raw sockets, cheap enough not to be what is measured. Loopback only."""

import json
import os
import random
import selectors
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

_EVENT, _END = b"data: {", b"\r\n0\r\n\r\n"
_LIMIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Server:
    """A server on the loopback interface: its port, the key that it accepts, and its process."""

    port: int
    key: str
    pid: int
    host: str = "127.0.0.1"

    def cpu_s(self) -> float:
        """The seconds of processor time that the process has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_kib(self) -> int:
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") // 1024


@dataclass(slots=True, eq=False)
class _Stream:
    """A connection that sends one request after the other."""

    socket: socket.socket
    request: bytes
    sent_s: float = 0.0
    waiting: bool = False  # for the first event
    tail: bytes = field(default=b"", repr=False)

    def ask(self) -> None:
        self.socket.sendall(self.request)
        self.sent_s, self.waiting, self.tail = time.perf_counter(), True, b""

    def read(self) -> tuple[int, int, bool]:
        """Reads what has arrived. Returns the numbers of events and bytes, and whether they end the reply."""
        try:
            received = self.socket.recv(1 << 20)
        except BlockingIOError:
            return 0, 0, False
        if not received:
            raise RuntimeError(f"The server closed after {self.tail!r}.")
        seen = self.tail + received
        n_events = seen.count(_EVENT)
        self.waiting = self.waiting and not n_events
        ended = seen.endswith(_END)
        # Less than a mark is kept, so that none is counted twice.
        self.tail = seen[-len(_EVENT) + 1 :]
        return n_events, len(received), ended


def _connect(stack: ExitStack, server: Server, n: int) -> list[_Stream]:
    body = json.dumps(
        {
            "model": "tessera/scripted",
            "messages": [{"role": "user", "content": "Tell me a story of a lamp."}],
            "stream": True,
        }
    )
    request = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {server.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()
    streams: list[_Stream] = []
    for _ in range(n):
        connection = socket.create_connection((server.host, server.port), timeout=_LIMIT_S)
        stack.enter_context(connection)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        streams.append(_Stream(connection, request))
    return streams


@dataclass(frozen=True, slots=True)
class Flood:
    """What was measured of streams without pauses.

    `per_cpu_s` counts events per second of the server's processor time, which other work on the machine
    disturbs less; `client_share` is the share of its core that the client used.
    """

    per_s: float
    per_cpu_s: float
    bytes_per_event: float
    client_share: float


def flood(server: Server, n_streams: int, for_s: float) -> Flood:
    """Sends a new request as soon as a reply has ended. The first quarter of the time does not count."""
    with ExitStack() as stack:
        streams = _connect(stack, server, n_streams)
        for stream in streams:
            stream.ask()
        _drain(streams, for_s / 4)
        begun_s, server_s, client_s = time.perf_counter(), server.cpu_s(), time.process_time()
        n_events, n_bytes = _drain(streams, for_s)
        took_s = time.perf_counter() - begun_s
        return Flood(
            n_events / took_s,
            n_events / max(server.cpu_s() - server_s, 0.01),
            n_bytes / max(n_events, 1),
            (time.process_time() - client_s) / took_s,
        )


def _drain(streams: list[_Stream], for_s: float) -> tuple[int, int]:
    """Reads every stream once a millisecond, so that what has gathered by then is read at once."""
    n_events = n_bytes = 0
    until_s = time.perf_counter() + for_s
    while time.perf_counter() < until_s:
        for stream in streams:
            events, size, ended = stream.read()
            n_events += events
            n_bytes += size
            if ended:
                stream.ask()
        time.sleep(0.001)
    return n_events, n_bytes


def first_bytes(server: Server, n_streams: int, for_s: float) -> list[float]:
    """The seconds from a request's last byte to its first event. Requests are sent at random moments."""
    chance = random.Random(4)
    taken: list[float] = []
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        streams = _connect(stack, server, n_streams)
        due = [(chance.random() * min(2.0, for_s / 2), stream) for stream in streams]
        begun_s = time.perf_counter()
        for stream in streams:
            selector.register(stream.socket, selectors.EVENT_READ, stream)
        while (now_s := time.perf_counter() - begun_s) < for_s:
            for moment in [moment for moment in due if moment[0] <= now_s]:
                due.remove(moment)
                moment[1].ask()
            for key, _ in selector.select(timeout=0.001):
                stream: _Stream = key.data
                waited = stream.waiting
                _, _, ended = stream.read()
                if waited and not stream.waiting:
                    taken.append(time.perf_counter() - stream.sent_s)
                if ended:
                    due.append((now_s + chance.random() * 0.1, stream))
    return taken


@dataclass(frozen=True, slots=True)
class Held:
    """What open streams cost: the share of a core, and memory."""

    core_share: float
    kib_each: float
    events_per_s: float


def hold(server: Server, n_streams: int, for_s: float, warm: Callable[[], object]) -> Held:
    """Keeps streams open that send an event now and then. `warm` runs before memory is measured."""
    warm()
    before_kib = server.resident_kib()
    with ExitStack() as stack:
        streams: list[_Stream] = []
        until_s = time.perf_counter() + _LIMIT_S
        for _ in range(0, n_streams, 50):  # so that they do not all speak at one moment
            streams += (more := _connect(stack, server, 50))
            for stream in more:
                stream.ask()
            while any(stream.waiting for stream in more):
                assert time.perf_counter() < until_s, "the streams did not all begin"
                _drain(more, 0.02)
        _drain_slowly(streams, 1.0)  # what the first said while the last were opened
        begun_s, server_s = time.perf_counter(), server.cpu_s()
        n_events = _drain_slowly(streams, for_s)
        took_s = time.perf_counter() - begun_s
        return Held(
            (server.cpu_s() - server_s) / took_s,
            (server.resident_kib() - before_kib) / n_streams,
            n_events / took_s,
        )


def _drain_slowly(streams: list[_Stream], for_s: float) -> int:
    n_events, until_s = 0, time.perf_counter() + for_s
    while time.perf_counter() < until_s:
        n_events += sum(stream.read()[0] for stream in streams)
        time.sleep(0.2)
    return n_events
