"""The application under the server that our documentation shows, which is not our own."""

import re
import socket
import sys
from pathlib import Path

from tests.serving import environment, free_port, launching
from tests.waiting import wait_for

__all__ = ["environment"]

PAGE = Path(__file__).parents[2] / "docs/en/install.md"
KEY = "sk-tessera-" + "k" * 40
HEAD = (
    "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    "Transfer-Encoding: chunked\r\nConnection: close\r\n"
)
AUTHORIZATION = f"Authorization: Bearer {KEY}\r\n"
BODY = '{"messages":[{"role":"user","content":"Hi"}],"max_tokens":1}'
CHUNKS = f"{len(BODY):x}\r\n{BODY}\r\n0\r\n"


def program(port: int) -> str:
    """The program of the documentation, on a free port."""
    found = re.search(r"```python\n(.*?create_app.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    return found[1].replace("port=8000", f"port={port}")


def said(port: int, sent: str) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        try:
            connection.sendall(sent.encode())
            return connection.makefile("rb").read().decode()
        except ConnectionError:
            return "the end"


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def test_a_key_that_is_sent_as_a_trailer_only_is_no_key(environment: dict[str, str]) -> None:
    port = free_port()
    with launching({**environment, "TESSERA_API_KEY": KEY}, sys.executable, "-c") as start:
        process = start(program(port))
        wait_for(lambda: is_open(port) or process.poll() is not None)
        assert said(port, HEAD + AUTHORIZATION + "\r\n" + CHUNKS + "\r\n").startswith("HTTP/1.1 200 ")
        assert said(port, HEAD + "\r\n" + CHUNKS + AUTHORIZATION + "\r\n").startswith("HTTP/1.1 401 ")
        trailers = "".join(f"X-{i}: {'y' * 1000}\r\n" for i in range(1000))
        assert not said(port, HEAD + AUTHORIZATION + "\r\n" + CHUNKS + trailers).startswith("HTTP/1.1 200 ")
