"""A child that has ended before it is written to: its owner hears how it ended, on both event loops."""

import asyncio
import re
import socket
import sys
from typing import Any

import pytest
import uvloop
from tests.conformance.engines.fake_worker import START

from tessera.engine.host.process import EngineProcess
from tessera.errors import EngineOverloaded, EngineUnavailable, StartupError
from tessera.processes import children, once
from tessera.processes.pool import OVER_LIMITS, ProcessPool
from tessera.server.api import ApiPlan
from tessera.server.workers import Workers
from tessera.settings import Settings

ENDED = (sys.executable, "-c", "raise SystemExit(3)")
DYING = """
import os, signal, sys
sys.stdin.buffer.read(4)
if {code} > 0:
    os._exit({code})
signal.signal(-{code}, signal.SIG_DFL)
os.kill(os.getpid(), -{code})
"""
start = children.start


async def start_ended(command: Any, environment: Any, **others: Any) -> asyncio.subprocess.Process:
    """A child that has ended before the caller gets it: a race made certain."""
    child = await start(ENDED, environment, **others)
    await child.wait()
    assert child.stdin is not None
    while not child.stdin.is_closing():  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0.005)
    return child


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(children, "start", start_ended)
    return request.param


def test_an_engine_that_has_ended(run: Any) -> None:
    with pytest.raises(EngineUnavailable, match="did not start: it ended with exit code 3"):
        run(EngineProcess(START, command=ENDED).run(lambda: None))


def test_an_api_process_that_has_ended(run: Any) -> None:
    async def code(listener: socket.socket) -> int:
        workers = Workers(ApiPlan(Settings(), b"", ()), [listener])
        return await workers._live(listener, asyncio.Event())

    with socket.socket() as listener:
        assert run(code(listener)) == 3


@pytest.mark.parametrize("code", sorted(OVER_LIMITS), ids=children.ending)
def test_a_child_that_exceeds_its_limits_before_it_is_ready_says_nothing_of_the_question(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = (sys.executable, "-c", DYING.format(code=code))
    monkeypatch.setattr(children, "command", lambda *_, **__: dying)

    async def work() -> None:
        pool = ProcessPool("tessera.nothing", b"", purpose="tests")
        with pytest.raises(EngineOverloaded):
            await pool.ask(b"")
        await pool.aclose()

    asyncio.run(work())
    with pytest.raises(StartupError, match=re.escape(children.ending(code))):
        once.ask("tessera.nothing", b"", purpose="tests")


def test_a_child_of_a_pool_that_has_ended(run: Any) -> None:
    async def work() -> None:
        pool = ProcessPool("tessera.nothing", b"", purpose="tests")
        with pytest.raises(StartupError, match="ended with exit code 3"):
            await pool.start()
        with pytest.raises(EngineOverloaded):
            await pool.ask(b"")
        await pool.aclose()

    run(work())
