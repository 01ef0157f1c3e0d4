"""What the service does when its engine does not start, or cannot be kept alive."""

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest
from tests.conformance.engines.fake_worker import COMMAND, START
from tests.serving import ask

from tessera.catalog import Catalog, Model
from tessera.engine.host.client import HostedEngine
from tessera.engine.host.process import EngineProcess
from tessera.engine.scripted.engine import ScriptedTokenizer
from tessera.errors import EngineUnavailable, StartupError
from tessera.formats.hermes import HERMES
from tessera.processes import supervision
from tessera.processes.children import HOMELESS
from tessera.server.api import Api
from tessera.server.parent import run
from tessera.settings import Settings

pytestmark = pytest.mark.anyio

KEY = "sk-tessera-" + "g" * 40


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound


def api(engine: EngineProcess, listener: socket.socket) -> Api:
    client = HostedEngine(engine.path, START.served)
    model = Model("fake", client, ScriptedTokenizer(), HERMES, HERMES.sampling, created_s=1)
    return Api(Catalog([model], {}, "fake"), Settings(api_key=KEY, max_running=1), b"s" * 32, listener)


async def test_an_engine_that_never_starts_is_a_failed_start(listener: socket.socket) -> None:
    engine = EngineProcess(START, command=(sys.executable, "-c", "raise SystemExit(3)"))
    with pytest.raises(StartupError, match="exit code 3"):
        await asyncio.wait_for(run(api(engine, listener), [engine], lambda: None), 60)


async def test_an_engine_that_cannot_be_kept_alive_ends_the_service(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervision, "FIRST_DELAY_S", 0.01)
    monkeypatch.setattr(supervision, "LAST_DELAY_S", 0.01)
    monkeypatch.setattr(supervision, "MOST_RESTARTS", 2)
    engine = EngineProcess(START, command=COMMAND)
    ready = asyncio.Event()
    service = asyncio.create_task(run(api(engine, listener), [engine], ready.set))
    await asyncio.wait_for(ready.wait(), 60)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1/chat/completions"
    headers = {"Authorization": f"Bearer {KEY}"}
    async with httpx2.AsyncClient(headers=headers, timeout=60) as client:
        # Six choices: one of them may come to its end by itself, not all.
        async with client.stream("POST", url, json=ask(stream=True, max_tokens=4000, n=6)) as reply:
            lines = aiter(reply.aiter_lines())
            last = await anext(lines)
            waiting = asyncio.create_task(client.post(url, json=ask()))
            await asyncio.sleep(0.1)
            while not service.done():
                if engine.pid:
                    with suppress(ProcessLookupError):  # it may be gone already
                        os.kill(engine.pid, signal.SIGKILL)
                await asyncio.sleep(0.05)
            async for line in lines:
                last = line or last
        assert '"code":"engine_unavailable"' in last, "a running reply ends with an error"
        assert (await waiting).status_code == 503, "and so does one that waited"
    with pytest.raises(EngineUnavailable, match="2 restarts"):
        await service
    assert "Traceback" not in caplog.text


async def test_the_engine_has_no_home_and_reports_to_nobody(listener: socket.socket) -> None:
    engine = EngineProcess(START, command=COMMAND)
    ready = asyncio.Event()
    front = api(engine, listener)
    service = asyncio.create_task(run(front, [engine], ready.set))
    await asyncio.wait_for(ready.wait(), 60)
    environment = Path(f"/proc/{engine.pid}/environ").read_text().split("\0")  # noqa: ASYNC240
    assert "HOME=/dev/null" in environment
    front.end()
    await asyncio.wait_for(service, 60)
    report = "import openvino.tools.ovc as ovc; print(ovc.telemetry.consent)"
    asked = await asyncio.create_subprocess_exec(sys.executable, "-c", report, env=HOMELESS, stdout=PIPE)
    assert await asked.communicate() == (b"False\n", None)
