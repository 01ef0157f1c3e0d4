"""`tessera serve --workers 2`: API processes that share a port, and what becomes of one that dies."""

import asyncio
import os
import shutil
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from tests.serving import Server, Start, ask
from tests.waiting import wait_for

N_STREAMS = 16
Serve = Callable[..., Server]


async def stream(server: Server, begun: Callable[[], None] = lambda: None, **fields: object) -> str:
    """The last line of a stream, or `cut`."""
    line = ""
    try:
        async with (
            httpx2.AsyncClient(base_url=server.url, headers=server.headers, timeout=60) as client,
            client.stream("POST", "/v1/chat/completions", json=ask(stream=True, **fields)) as reply,
        ):
            async for text in reply.aiter_lines():
                if text and not line:
                    begun()
                line = text or line
    except httpx2.RemoteProtocolError:
        return "cut"
    return line


@pytest.mark.anyio
async def test_one_dies_the_other_goes_on_and_a_new_one_comes(service: Serve) -> None:
    server = service("--workers", 2, "--scripted-tokens-per-s", 30)
    first = server.workers()
    assert len(first) == 2
    n_begun = 0

    def count() -> None:
        nonlocal n_begun
        n_begun += 1
        if n_begun == N_STREAMS:
            os.kill(first[0], signal.SIGKILL)

    ends = await asyncio.gather(*(stream(server, count, max_tokens=30) for _ in range(N_STREAMS)))
    assert set(ends) == {"cut", "data: [DONE]"}, "both processes have answered, and one was killed"
    wait_for(lambda: len(server.workers()) == 2)
    second = server.workers()
    assert first[1] in second
    assert first[0] not in second
    assert set(await asyncio.gather(*(stream(server) for _ in range(N_STREAMS)))) == {"data: [DONE]"}
    code, log = server.stop()
    assert code == 0
    assert log.count("api process died") == 1


@pytest.mark.anyio
async def test_one_that_is_stuck_is_replaced(service: Serve) -> None:
    server = service("--workers", 2, "--worker-hang-s", 8)
    stuck, sound = server.workers()
    os.kill(stuck, signal.SIGSTOP)
    waiting = [asyncio.create_task(stream(server)) for _ in range(N_STREAMS)]
    await asyncio.to_thread(wait_for, lambda: stuck not in server.workers() and len(server.workers()) == 2)
    assert sound in server.workers()
    ends = await asyncio.gather(*waiting)
    assert "data: [DONE]" in ends
    assert set(ends) <= {"cut", "data: [DONE]"}, "what the stuck one had accepted is cut, nothing hangs"
    assert set(await asyncio.gather(*(stream(server) for _ in range(N_STREAMS)))) == {"data: [DONE]"}
    code, log = server.stop()
    assert code == 0
    assert log.count("api process hangs, killed") == log.count("api process died") == 1


def test_one_dies_after_somebody_cleared_tmp(service: Serve, tmp_path: Path) -> None:
    server = service("--workers", 2, "--admin-port", 0, TMPDIR=str(tmp_path))
    (metrics,) = tmp_path.glob("tessera-metrics-*")
    shutil.rmtree(metrics)
    first = server.workers()
    os.kill(first[0], signal.SIGKILL)
    wait_for(lambda: len(server.workers()) == 2 and first[0] not in server.workers())
    with server.client() as client:
        assert client.post("/v1/chat/completions", json=ask()).status_code == 200
    wait_for(lambda: list(metrics.glob("*.db")) != [])
    code, log = server.stop()
    assert code == 0
    assert log.count("api process died") == 1


def test_nothing_survives_the_parent(service: Serve) -> None:
    server = service("--workers", 2)
    workers = server.workers()
    server.process.kill()
    server.process.wait(300)
    wait_for(lambda: not any(Path(f"/proc/{id}").exists() for id in workers))


def test_the_key_is_hidden_and_the_port_taken(service: Serve, start: Start) -> None:
    server = service("--workers", 2, TESSERA_API_KEY="sk-tessera-" + "w" * 40)
    for id in server.workers():
        seen = Path(f"/proc/{id}/environ").read_bytes() + Path(f"/proc/{id}/cmdline").read_bytes()
        assert b"sk-tessera" not in seen
        assert b"TESSERA_" not in seen
    port = server.url.rpartition(":")[2]
    other = start("serve", "--engine", "scripted", "--workers", 2, "--port", port)
    _, said = other.communicate(timeout=300)
    assert other.returncode == 2
    assert f"Cannot listen on 127.0.0.1:{port}" in said


@pytest.mark.parametrize("workers", [2, pytest.param(1, marks=pytest.mark.full)])
def test_the_admin_listener_is_not_the_public_one(service: Serve, tmp_path: Path, workers: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = service("--workers", workers, "--admin-port", port, TMPDIR=str(tmp_path))
    assert len(list(tmp_path.glob("tessera-metrics-*"))) == (workers > 1)
    admin = f"http://127.0.0.1:{port}"
    for _ in range(20):
        with server.client() as client:
            assert client.post("/v1/chat/completions", json=ask()).status_code == 200
            assert client.get("/metrics").status_code == 404
    counted = httpx2.get(f"{admin}/metrics", timeout=60).text
    assert 'tessera_generation_tokens_total{model="tessera/scripted"} 100.0' in counted, counted
    assert httpx2.get(f"{admin}/v1/models", headers=server.headers, timeout=60).status_code == 404
    assert server.stop()[0] == 0
    assert list(tmp_path.glob("tessera-*")) == []
