"""Redis stops, or hangs, under load, and comes back: nothing fails because of it, and the metrics say so."""

import signal
import socket
from collections.abc import Callable

import httpx2
import pytest
from tests.load import load
from tests.redis_server import RedisServer
from tests.redis_server import redis_server as redis_server
from tests.serving import Server
from tests.waiting import wait_for

KEY = "sk-tessera-" + "r" * 40
N_WORKERS = 2


def stop(server: RedisServer) -> None:
    server.stop()


def pause(server: RedisServer) -> None:
    assert server.process
    server.process.send_signal(signal.SIGSTOP)


def resume(server: RedisServer) -> None:
    assert server.process
    server.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize(
    ("leave", "come_back"),
    [
        pytest.param(stop, RedisServer.start, id="stopped"),
        pytest.param(pause, resume, id="hanging", marks=pytest.mark.full),
    ],
)
def test_requests_go_on_and_the_return_is_noticed(
    service: Callable[..., Server],
    redis_server: RedisServer,
    leave: Callable[[RedisServer], None],
    come_back: Callable[[RedisServer], None],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = service(
        *("--workers", N_WORKERS, "--admin-port", port, "--scripted-tokens-per-s", 500),
        *("--log-level", "warning"),
        TESSERA_API_KEY=KEY,
        TESSERA_REDIS_URL=redis_server.create(),
    )

    def n_alone() -> float:
        """The number of processes that count by themselves."""
        lines = httpx2.get(f"http://127.0.0.1:{port}/metrics", timeout=60).text.splitlines()
        return sum(float(line.split()[1]) for line in lines if line.startswith("tessera_limiter_fallback "))

    with load(server.url, key=KEY, n=8) as clients:
        wait_for(lambda: clients.n_told > 20)
        wait_for(lambda: n_alone() == 0)
        leave(redis_server)
        try:
            wait_for(lambda: n_alone() == N_WORKERS)
            before = clients.n_told
            wait_for(lambda: clients.n_told > before + 20)
        finally:
            come_back(redis_server)
        wait_for(lambda: n_alone() == 0)
    assert set(clients.seen) == {(200, None)}
    assert server.stop()[0] == 0
