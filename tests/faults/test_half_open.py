"""A client's machine that vanished without a word does not hold its connection for long."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from tessera.http.context import context_of
from tessera.server.http1.options import MAX_UNSENT_BYTES, VANISHED_S

KEY = "sk-tessera-" + "v" * 40
SERVER, CLIENT = "10.214.7.1", "10.214.7.2"

# Run in the client's namespace: two requests that stay open, one of them silent.
CLIENTS = f"""
import json, socket, sys, time
connections = []
for stream in (True, False):
    body = json.dumps({{"messages": [{{"role": "user", "content": "x"}}], "stream": stream}})
    connection = socket.create_connection(("{SERVER}", int(sys.argv[1])), timeout=60)
    connection.sendall((
        "POST /v1/chat/completions HTTP/1.1\\r\\nHost: x\\r\\nAuthorization: Bearer {KEY}\\r\\n"
        f"Content-Type: application/json\\r\\nContent-Length: {{len(body)}}\\r\\n\\r\\n{{body}}"
    ).encode())
    connections.append(connection)
assert b" 200 " in connections[0].recv(4096)
print("open", flush=True)
time.sleep(120)
"""


def test_the_kernel_looks_for_the_clients_machine(run_app: Callable[..., Any]) -> None:
    options: dict[str, int] = {}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        abort: Any = context_of(scope).abort
        transport = abort.__self__
        connection = transport.get_extra_info("socket")
        options["on"] = connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT", "TCP_NOTSENT_LOWAT"):
            options[name] = connection.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    with run_app(app) as port, socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 204 " in connection.recv(4096)
    assert options.pop("on") == 1
    assert options == {
        "TCP_KEEPIDLE": VANISHED_S // 3,
        "TCP_KEEPINTVL": VANISHED_S // 6,
        "TCP_KEEPCNT": 4,
        "TCP_USER_TIMEOUT": VANISHED_S * 1000,
        "TCP_NOTSENT_LOWAT": MAX_UNSENT_BYTES,
    }


def run(command: str) -> None:
    subprocess.run(command.split(), check=True, capture_output=True, timeout=60)


@pytest.fixture
def namespaces() -> Iterator[tuple[str, str]]:
    """Two network namespaces, for the server and its client, joined by a pair of interfaces."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root and iproute2 to make network namespaces")
    server, client = (f"tessera-{name}-{os.getpid()}" for name in ("s", "c"))
    made: list[str] = []
    try:
        for name in (server, client):
            try:
                run(f"ip netns add {name}")
            except subprocess.CalledProcessError as error:
                pytest.skip(f"network namespaces cannot be made here: {error.stderr.decode().strip()}")
            made.append(name)
        run(f"ip -n {server} link add up0 type veth peer name up0 netns {client}")
        for name, address in ((server, SERVER), (client, CLIENT)):
            run(f"ip -n {name} address add {address}/24 dev up0")
            run(f"ip -n {name} link set up0 up")
        yield server, client
    finally:
        for name in made:
            run(f"ip netns del {name}")


def n_established(pid: int) -> int:
    """The number of established connections in the process's network namespace."""
    lines = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    return sum(line.split()[3] == "01" for line in lines)


@pytest.mark.full
@pytest.mark.timeout(150)
def test_a_client_whose_link_goes_down_is_gone_within_a_minute(
    namespaces: tuple[str, str], tmp_path: Path
) -> None:
    inside_server, inside_client = namespaces
    flags = f"--engine scripted --host {SERVER} --port 0 --scripted-tokens-per-s 1 --log-level error".split()
    serve = ["ip", "netns", "exec", inside_server, str(Path(sys.executable).with_name("tessera")), "serve"]
    environment = os.environ | {"TESSERA_API_KEY": KEY, "TESSERA_CACHE_DIR": str(tmp_path)}
    with subprocess.Popen([*serve, *flags], stdout=subprocess.PIPE, env=environment, text=True) as server:
        try:
            assert server.stdout is not None
            told = next(found for line in server.stdout if (found := re.search(r":(\d+)/v1", line)))
            command = ["ip", "netns", "exec", inside_client, sys.executable, "-c", CLIENTS, told[1]]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
                try:
                    assert client.stdout is not None
                    assert client.stdout.readline() == "open\n"
                    assert n_established(server.pid) == 2
                    run(f"ip -n {inside_client} link set up0 down")
                    begun = time.monotonic()
                    while n_established(server.pid):
                        assert time.monotonic() - begun < 2 * VANISHED_S
                        time.sleep(0.2)
                    assert time.monotonic() - begun > VANISHED_S / 3
                finally:
                    client.kill()
        finally:
            server.terminate()
