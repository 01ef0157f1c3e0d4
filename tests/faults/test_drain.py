"""The way down: SIGTERM, the balancer's time, the replies that run, the deadline, the end."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import httpx2
import pytest
from tests.serving import Server, ask, free_port
from tests.waiting import wait_for

pytestmark = pytest.mark.anyio

Serve = Callable[..., Server]
FULL = pytest.mark.full
ONE_FIRST = pytest.mark.parametrize("workers", [1, pytest.param(2, marks=FULL)])
TWO_FIRST = pytest.mark.parametrize("workers", [2, pytest.param(1, marks=FULL)])


@asynccontextmanager
async def clients(server: Server) -> AsyncIterator[httpx2.AsyncClient]:
    """A client without a limit of connections."""
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(
        base_url=server.url, headers=server.headers, timeout=60, limits=limits
    ) as client:
        yield client


class Streams:
    """Replies that are read concurrently."""

    def __init__(self, client: httpx2.AsyncClient, n: int, **fields: object) -> None:
        self._begun = 0
        self._all_begun = asyncio.Event()
        self._n = n
        self._reading = [asyncio.create_task(self._read(client, fields)) for _ in range(n)]

    async def all_begun(self) -> None:
        await asyncio.wait_for(self._all_begun.wait(), 60)

    async def ends(self) -> list[str]:
        """The last frame of each stream."""
        return await asyncio.gather(*self._reading)

    def leave(self) -> None:
        for reading in self._reading:
            reading.cancel()

    async def _read(self, client: httpx2.AsyncClient, fields: dict[str, object]) -> str:
        last = ""
        async with client.stream("POST", "/v1/chat/completions", json=ask(stream=True, **fields)) as reply:
            async for line in reply.aiter_lines():
                if line and not last:
                    self._begun += 1
                    if self._begun == self._n:
                        self._all_begun.set()
                last = line or last
        return last


def error_of(frame: str) -> tuple[str, str]:
    error = json.loads(frame.removeprefix("data: "))["error"]
    return error["type"], error["code"]


async def ended(server: Server) -> int:
    return await asyncio.to_thread(server.process.wait, 300)


@TWO_FIRST
async def test_fifty_open_streams_lose_nothing(service: Serve, workers: int) -> None:
    server = service("--workers", workers, "--scripted-tokens-per-s", 5)
    async with clients(server) as client:
        streams = Streams(client, 50, max_tokens=40)
        await streams.all_begun()
        server.send()
        wait_for(lambda: httpx2.get(f"{server.url}/readyz", timeout=60).status_code == 503)
        late = await client.post("/v1/chat/completions", json=ask())
        assert (late.status_code, late.json()["error"]["code"]) == (503, "draining")
        assert late.headers["retry-after"] == "1"
        assert late.headers["connection"] == "close"
        assert set(await streams.ends()) == {"data: [DONE]"}
    assert await ended(server) == 0


@ONE_FIRST
async def test_what_outlasts_the_grace_ends_with_an_error_and_not_a_cut(service: Serve, workers: int) -> None:
    pace = ("--scripted-tokens-per-s", 5, "--shutdown-grace-s", 0.3, "--max-running", 20)
    server = service("--workers", workers, "--admin-port", port := free_port(), *pace)

    def n_in_flight() -> float:
        lines = httpx2.get(f"http://127.0.0.1:{port}/metrics", timeout=60).text.splitlines()
        names = ("tessera_num_requests_running{", "tessera_num_requests_waiting{")
        return sum(float(line.split()[-1]) for line in lines if line.startswith(names))

    async with clients(server) as client:
        streams = Streams(client, 8, max_tokens=900)
        await streams.all_begun()
        whole = [asyncio.create_task(client.post("/v1/chat/completions", json=ask(max_tokens=900, n=8)))]
        long = ask(max_tokens=900)
        waiting = [asyncio.create_task(client.post("/v1/chat/completions", json=long)) for _ in range(20)]
        await asyncio.to_thread(wait_for, lambda: n_in_flight() == 29)
        server.send()
        assert {error_of(last) for last in await streams.ends()} == {("overloaded_error", "draining")}
        for reply in await asyncio.gather(*whole, *waiting):
            assert (reply.status_code, reply.json()["error"]["code"]) == (503, "draining")
    assert await ended(server) == 0


@ONE_FIRST
@pytest.mark.parametrize("second", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=FULL)])
async def test_a_second_signal_ends_it_at_once(service: Serve, second: int, workers: int) -> None:
    server = service("--workers", workers, "--scripted-tokens-per-s", 5, "--shutdown-grace-s", 600)
    async with clients(server) as client:
        streams = Streams(client, 4, max_tokens=900)
        await streams.all_begun()
        server.send()
        wait_for(lambda: httpx2.get(f"{server.url}/readyz", timeout=60).status_code == 503)
        server.send(second)
        assert {error_of(last) for last in await streams.ends()} == {("overloaded_error", "draining")}
    assert await ended(server) == 0
    assert server.process.stderr
    assert "Traceback" not in server.process.stderr.read()


@ONE_FIRST
async def test_a_balancer_has_its_time(service: Serve, workers: int) -> None:
    delay_s = 4
    server = service("--workers", workers, "--scripted-tokens-per-s", 20, "--drain-delay-s", delay_s)
    async with clients(server) as client:
        streams = Streams(client, 1, max_tokens=4000)
        await streams.all_begun()
        reader, writer = await asyncio.open_connection(*server.url.removeprefix("http://").split(":"))
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"connection: close" not in (await reader.readuntil(b"}")).lower()
        begun = time.monotonic()
        server.send()
        wait_for(lambda: httpx2.get(f"{server.url}/readyz", timeout=60).status_code == 503)
        taken = await client.post("/v1/chat/completions", json=ask(max_tokens=1))
        assert (taken.status_code, taken.headers["connection"]) == (200, "close")
        assert await asyncio.wait_for(reader.read(), 60) == b"", "a connection without a request is closed"
        assert time.monotonic() - begun > delay_s
        writer.close()
        async with asyncio.timeout(60):  # each worker has its own clock, and the idle one is soon gone
            refused = taken
            while refused.is_success:
                with suppress(httpx2.TransportError):
                    refused = await client.post("/v1/chat/completions", json=ask(max_tokens=1))
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
        streams.leave()
    assert await ended(server) == 0


@ONE_FIRST
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=FULL)])
async def test_an_idle_server_ends_without_waiting(service: Serve, number: int, workers: int) -> None:
    server = service("--workers", workers, "--shutdown-grace-s", 600)
    async with clients(server) as client:
        await asyncio.gather(*(client.get("/healthz") for _ in range(20)))
        server.send(number)
        assert await ended(server) == 0, "connections that are only kept delay nothing"
