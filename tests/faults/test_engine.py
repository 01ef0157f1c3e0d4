"""The engine is killed, or stopped, under load, again and again: every client is answered or told, and the
service is whole afterwards.
"""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send
from tests.conformance.engines import fake_worker
from tests.hosted import changed, private
from tests.limits import LIMITS
from tests.waiting import until

from tessera.access.keys import Keys
from tessera.catalog import Catalog, Model
from tessera.engine.host.private import PrivateEngine
from tessera.engine.scripted.engine import ScriptedTokenizer
from tessera.formats.hermes import HERMES
from tessera.http.app import build_app
from tessera.http.service import Service
from tessera.processes import supervision
from tessera.text.hf import HfTokenizer
from tessera.text.tokenizer import Tokenizer

pytestmark = pytest.mark.anyio

KEY = "sk-tessera-" + "f" * 40
N_STREAMS, N_WAITING, N_WAITING_TOKENS = 6, 4, 12
WITHIN_S = 120.0
"""More than anything here takes; what takes longer hangs."""

RunApp: TypeAlias = Callable[[ASGIApp], AbstractContextManager[int]]


@dataclass(frozen=True)
class Subject:
    """A service and its engine, to which the test has access."""

    engine: PrivateEngine
    app: Starlette
    client: httpx2.AsyncClient

    def signal(self, signum: signal.Signals) -> None:
        assert self.engine.process.pid
        os.kill(self.engine.process.pid, signum)

    async def post(self, **fields: Any) -> httpx2.Response:
        return await self.client.post("/v1/chat/completions", json=body(**fields))

    async def ready(self) -> httpx2.Response:
        return await self.client.get("/readyz")

    @property
    def n_in_flight(self) -> int:
        return self.app.state.service.in_flight.n

    @property
    def n_held(self) -> int:
        """What requests hold, in the service and in the engine."""
        of_engine = sum(self.engine.gauges[name] for name in ("running", "waiting", "blocks_used"))
        return (
            self.n_in_flight
            + sum(queue.n_running for queue in self.app.state.service.queues.values())
            + of_engine
        )


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the supervisor forget how often the engine died, so that it does not give up."""
    monkeypatch.setattr(supervision, "HEALTHY_S", 0.0)
    monkeypatch.setattr(supervision, "WITHIN_S", 0.0)


@contextmanager
def serving(engine: PrivateEngine, tokenizer: Tokenizer, run_app: RunApp) -> Iterator[tuple[Starlette, int]]:
    model = Model("m", engine, tokenizer, HERMES, HERMES.sampling, created_s=1)
    app = build_app(Service(catalog=Catalog([model], {}, "m"), keys=Keys([KEY]), limits=LIMITS))

    async def starting(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await engine.start()
        await app(scope, receive, send)

    with run_app(starting) as port:
        yield app, port


@pytest.fixture
async def subject(
    request: pytest.FixtureRequest, run_app: RunApp, anyio_backend: str
) -> AsyncIterator[Subject]:
    """The engine's process without a model, or one with the embedded model. It is never taken for hung,
    however busy the machine is.
    """
    hang_s = 3600.0 if request.node.callspec.params["killed"] else 3.0
    if request.param == "process":
        tokenizer = ScriptedTokenizer()
        size = tokenizer.vocabulary_size
        config = changed(
            fake_worker.START, vocabulary_size=size, eos_token_ids=(size - 1,), context_tokens=2**16
        )
        engine = private(config, hang_s=hang_s, command=fake_worker.COMMAND)
    else:
        config = request.getfixturevalue(request.param)
        tokenizer = HfTokenizer.from_file(Path(config.options["tokenizer_json"]))
        engine = private(config, hang_s=hang_s)
    with serving(engine, tokenizer, run_app) as (app, port):
        headers = {"Authorization": f"Bearer {KEY}"}
        async with httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=WITHIN_S
        ) as client:
            yield Subject(engine, app, client)


def body(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "Tell me of the sea."}], **fields}


async def stream(subject: Subject, begun: asyncio.Semaphore) -> str:
    """The last frame of a long reply. `begun` is released with the first frame that has text."""
    has_begun, last = False, ""
    request = subject.client.stream(
        "POST", "/v1/chat/completions", json=body(stream=True, max_tokens=10_000, seed=1)
    )
    async with request as response:
        assert response.status_code == 200
        async for line in response.aiter_lines():
            if not line.startswith("data: "):
                continue
            last = line.removeprefix("data: ")
            if not has_begun and '"content"' in last:
                has_begun = True
                begun.release()
    assert has_begun
    return last


def is_an_end(last: str) -> bool:
    """Whether it is the end of a whole reply, or an error that says that the engine is gone."""
    return last == "[DONE]" or json.loads(last)["error"]["code"] == "engine_unavailable"


async def fail_once(subject: Subject, *, killed: bool) -> None:
    """Kills the engine while some requests stream, others wait for their first token, and new ones arrive."""
    begun = asyncio.Semaphore(0)
    streams = [asyncio.create_task(stream(subject, begun)) for _ in range(N_STREAMS)]
    for _ in streams:
        await begun.acquire()
    subject.signal(signal.SIGSTOP)
    waiting = [
        asyncio.create_task(subject.post(max_tokens=N_WAITING_TOKENS, seed=1)) for _ in range(N_WAITING)
    ]
    await until(lambda: subject.n_in_flight == N_STREAMS + N_WAITING)
    await asyncio.sleep(0.1)
    if killed:
        subject.signal(signal.SIGKILL)
    ends = await asyncio.gather(*streams)
    assert all(map(is_an_end, ends)), ends
    assert any(end != "[DONE]" for end in ends), "nothing was cut: this proves nothing"
    unready = await subject.ready()
    assert (unready.status_code, unready.json()["error"]["code"]) == (503, "engine_dead")
    refused = await subject.post(max_tokens=1)
    assert refused.status_code == 503
    assert refused.headers["retry-after"]
    for reply in await asyncio.gather(*waiting):
        assert reply.status_code == 200, reply.text
        assert reply.json()["usage"]["completion_tokens"] == N_WAITING_TOKENS
    assert (await subject.ready()).status_code == 200
    await until(lambda: subject.n_held == 0)


@pytest.mark.parametrize(
    ("subject", "killed", "n_times"),
    [
        ("process", True, 3),
        ("process", False, 2),
        *(pytest.param("process", killed, 20, marks=pytest.mark.full) for killed in (True, False)),
        *(pytest.param("llama_start", killed, 1, marks=pytest.mark.live) for killed in (True, False)),
        *(
            pytest.param(engine, killed, 20, marks=[pytest.mark.full, pytest.mark.live])
            for killed in (True, False)
            for engine in ("openvino_start", "llama_start")
        ),
    ],
    indirect=["subject"],
)
async def test_every_client_is_answered_or_told(subject: Subject, killed: bool, n_times: int) -> None:
    for i in range(n_times):
        await fail_once(subject, killed=killed)
        assert subject.engine.process.n_restarts == i + 1
        assert (await subject.post(max_tokens=3)).status_code == 200
