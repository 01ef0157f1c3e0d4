import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest
from tests.conftest import Served


class Raw:
    """A socket on which tests write HTTP by hand and see bytes as they arrive."""

    def __init__(self, served: Served, receive_buffer: int | None = None) -> None:
        self.key = served.key
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(60)
        self.socket.connect(("127.0.0.1", served.port))
        self.seen = b""

    def send(self, head: str, body: bytes = b"", **headers: str) -> None:
        lines = [f"{head} HTTP/1.1", "Host: x", f"Authorization: Bearer {self.key}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode() + body)

    def ask(self, **fields: Any) -> None:
        """Send a chat request."""
        body = json.dumps({"messages": [{"role": "user", "content": "Hi"}], **fields}).encode()
        self.send(
            "POST /v1/chat/completions", body, Content_Type="application/json", Content_Length=str(len(body))
        )

    def read_until(self, mark: bytes) -> bytes:
        """Reads until `mark` has been received; returns all of it."""
        while mark not in self.seen:
            received = self.socket.recv(65536)
            assert received, f"closed after {self.seen[-200:]!r}"
            self.seen += received
        end = self.seen.index(mark) + len(mark)
        read, self.seen = self.seen[:end], self.seen[end:]
        return read

    def read_response(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of a response that is not streamed."""
        status, *lines = self.read_until(b"\r\n\r\n").decode().splitlines()
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines) if name}
        length = int(headers["content-length"])
        while len(self.seen) < length:
            self.seen += self.socket.recv(65536)
        body, self.seen = self.seen[:length], self.seen[length:]
        return int(status.split()[1]), headers, body

    def read_to_the_end(self) -> bytes:
        """Reads until the server closes the connection."""
        while received := self.socket.recv(65536):
            self.seen += received
        return self.seen

    def leave(self) -> None:
        self.socket.close()


class Gate:
    """A timing that lets `n` steps pass, and the others once it is opened. `n_turns` counts turns of the
    server's loop, about one a millisecond while a step waits.
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self.n_turns = 0
        self.opened = threading.Event()

    async def __call__(self, step: int) -> None:
        while step >= self.n and not self.opened.is_set():
            self.n_turns += 1
            await asyncio.sleep(0.001)


@pytest.fixture
def gate() -> Callable[[int], Gate]:
    return Gate


Connect: TypeAlias = Callable[..., Raw]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Opens raw connections, which are closed at the end of the test."""
    opened: list[Raw] = []

    def open_one(served: Served, **options: Any) -> Raw:
        opened.append(Raw(served, **options))
        return opened[-1]

    yield open_one
    for raw in opened:
        raw.leave()
