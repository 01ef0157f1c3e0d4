"""How a front asks a replica, which is a real process; the call through Ray Serve is played here."""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from typing import Any

import pytest
from tests.serving import Start, ask, environment, launching

serve = pytest.importorskip("ray.serve")

__all__ = ["environment"]
KEY = "sk-tessera-" + "r" * 40
PEPPER = "secret-of-digests-" + "p" * 32


class Call:
    """What Ray Serve returns for a call of `hold`: its items, and whether it was cancelled."""

    def __init__(self, items: AsyncGenerator[tuple[str, str]]) -> None:
        self._items = items
        self.is_cancelled = False

    def __aiter__(self) -> "Call":
        return self

    async def __anext__(self) -> tuple[str, str]:
        return await anext(self._items)

    def cancel(self) -> None:
        self.is_cancelled = True


class Handle:
    """A handle of the deployment whose calls `hold` gives."""

    def __init__(self, hold: Callable[[], AsyncGenerator[tuple[str, str]]]) -> None:
        self.calls: list[Call] = []
        self.hold = self
        self._hold = hold

    def options(self, *, stream: bool) -> "Handle":
        assert stream
        return self

    def remote(self, hashes: list[bytes]) -> Call:
        self.calls.append(Call(self._hold()))
        return self.calls[-1]


@pytest.fixture
def replica(environment: dict[str, str]) -> Iterator[Start]:
    with launching(environment, sys.executable, "-m", "tests.relayed_replica") as start:
        yield start


def with_replicas(
    monkeypatch: pytest.MonkeyPatch, handle: Handle, check: Callable[[Any], Coroutine[Any, Any, None]]
) -> None:
    from tessera.cluster.asking import ServedReplicas
    from tessera.cluster.relayed import relay_key

    monkeypatch.setattr(serve, "get_deployment_handle", lambda deployment, application: handle)

    async def run() -> None:
        replicas = ServedReplicas(relay_key(PEPPER.encode()), deadline_s=0.5)
        await replicas.start()
        try:
            await check(replicas)
        finally:
            await replicas.aclose()

    asyncio.run(run())


def outgoing(body: object = None, path: str = "/v1/models") -> Any:
    from tessera.cluster.relayed import new_reply
    from tessera.cluster.upstream import Outgoing

    headers = [("authorization", f"Bearer {KEY}"), ("content-type", "application/json")]
    encoded = b"" if body is None else json.dumps(body).encode()
    method = "GET" if body is None else "POST"
    return Outgoing(method, path, headers, encoded, new_reply(), "192.0.2.1", [b"hash"])


def test_a_replica_answers_and_is_lost(monkeypatch: pytest.MonkeyPatch, replica: Start) -> None:
    from tessera.cluster.upstream import ReplicaLost, whole

    process = replica(
        TESSERA_API_KEY=KEY,
        TESSERA_ENGINE="scripted",
        TESSERA_PEPPER=PEPPER,
        TESSERA_SCRIPTED_TOKENS_PER_S="20",
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()

    async def hold() -> AsyncGenerator[tuple[str, str]]:
        yield url, "hold"
        await asyncio.Event().wait()

    async def check(replicas: Any) -> None:
        async with replicas.asked("app", outgoing()) as answer:
            assert (answer.status, answer.is_stream) == (200, False)
            assert json.loads(await whole(answer))["object"] == "list"
        asked = outgoing(ask(stream=True, max_tokens=500), "/v1/chat/completions")
        received = b""

        async def read() -> None:
            nonlocal received
            async with replicas.asked("app", asked) as answer:
                assert (answer.status, answer.is_stream) == (200, True)
                async for part in answer.parts():
                    received += part
                    process.kill()

        with pytest.raises(ReplicaLost):
            await read()
        assert asked.reply.id.encode() in received
        with pytest.raises(ReplicaLost):
            async with replicas.asked("app", outgoing()):
                pass

    handle = Handle(hold)
    with_replicas(monkeypatch, handle, check)
    assert handle.calls[-1].is_cancelled


def test_a_call_that_fails_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.exceptions import RayActorError  # pyright: ignore[reportMissingImports]
    from ray.serve.exceptions import BackPressureError  # pyright: ignore[reportMissingImports]

    from tessera.cluster.upstream import ReplicaLost
    from tessera.errors import EngineOverloaded, EngineTimeout

    causes: list[Exception | None] = [
        BackPressureError(num_queued_requests=1, max_queued_requests=1),
        RayActorError(),
        None,
    ]

    async def hold() -> AsyncGenerator[tuple[str, str]]:
        if cause := causes.pop(0):
            raise cause
        await asyncio.Event().wait()
        yield "", ""

    async def check(replicas: Any) -> None:
        for expected in (EngineOverloaded, ReplicaLost, EngineTimeout):
            with pytest.raises(expected):
                async with replicas.asked("app", outgoing()):
                    pass

    handle = Handle(hold)
    with_replicas(monkeypatch, handle, check)
    assert handle.calls[-1].is_cancelled
