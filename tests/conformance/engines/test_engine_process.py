"""The engine's process dies, hangs, and comes back; its clients outlive it. Its core is `FakeCore`."""

import asyncio
import json
import os
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.conformance.engines.fake_worker import COMMAND, CRASHES, POISONS, PRIVATE, STALLS, START
from tests.hosted import changed, private
from tests.waiting import until

from tessera.core.generation import Prompt, Sampling, TokenChunk
from tessera.engine.host import process
from tessera.engine.host.client import MOST_DEATHS, HostedEngine
from tessera.engine.host.private import PrivateEngine
from tessera.engine.host.process import EngineProcess
from tessera.errors import EngineUnavailable
from tessera.processes import supervision

pytestmark = pytest.mark.anyio

HANG_S = 1.5
LONG = Sampling(max_tokens=100_000)


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(supervision, "FIRST_DELAY_S", 0.05)


@pytest.fixture
def hang_s() -> float:
    """Long, so that a worker on a busy machine is not taken for one that hangs."""
    return 3600.0


@pytest.fixture
async def engine(anyio_backend: str, hang_s: float) -> AsyncIterator[PrivateEngine]:
    engine = private(changed(START, log_level="debug"), hang_s=hang_s, command=COMMAND)
    await engine.start()
    yield engine
    await engine.aclose()


async def tokens(engine: HostedEngine, prompt: Prompt, sampling: Sampling) -> list[int]:
    return [token async for chunk in engine.generate(prompt, sampling) for token in chunk.token_ids]


async def ends_with_an_error(chunks: AsyncIterator[TokenChunk]) -> None:
    async with asyncio.timeout(60):
        with pytest.raises(EngineUnavailable):
            async for _ in chunks:
                pass


def kill(engine: PrivateEngine, signum: signal.Signals = signal.SIGKILL) -> int:
    """Sends the signal to the worker, and returns its process id."""
    pid = engine.process.pid
    assert pid
    os.kill(pid, signum)
    return pid


def causes(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The causes of deaths that the supervisor has logged."""
    return [record.__dict__["fields"]["cause"] for record in caplog.records if "died" in record.getMessage()]


async def test_a_worker_that_cannot_be_started_again_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    program = tmp_path / "worker"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
    program.chmod(0o700)
    engine = private(START, command=(str(program),))
    await engine.start()
    hidden = program.rename(tmp_path / "hidden")
    kill(engine)
    await until(lambda: len(causes(caplog)) == 2)
    hidden.rename(program)
    assert await tokens(engine, Prompt((1,)), Sampling(3))
    assert "could not be started" in causes(caplog)[1]
    await engine.aclose()


@pytest.mark.parametrize(
    ("how", "cause", "hang_s"),
    [
        ("killed", "was ended: Killed", 3600.0),
        ("crashes", "ended with exit code 1", 3600.0),
        ("hangs", "no sign of life", HANG_S),
    ],
)
async def test_what_has_begun_fails_and_the_engine_comes_back(
    engine: PrivateEngine,
    how: str,
    cause: str,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    running = [engine.generate(Prompt((i,)), LONG) for i in range(3)]
    for chunks in running:
        await anext(chunks)
    path, first = engine.process.path, engine.process.pid
    culprit = {"killed": 1, "crashes": CRASHES, "hangs": STALLS}[how]
    await anext(last := engine.generate(Prompt((culprit,)), LONG))
    if how == "killed":
        kill(engine)
    for chunks in [last, *running]:
        await ends_with_an_error(chunks)
    assert engine.unready() == "engine_dead"
    assert engine.gauges == {}
    assert await tokens(engine, Prompt((1,)), Sampling(4, seed=1))
    assert engine.unready() is None
    assert engine.process.path == path
    assert engine.process.pid not in (None, first)
    assert engine.process.n_restarts == 1
    assert cause in causes(caplog)[0]
    assert PRIVATE not in capfd.readouterr().err
    assert engine.process.is_ready
    await engine.process.aclose()
    assert not engine.process.is_ready


async def test_what_has_not_begun_is_answered_by_the_next_worker_in_its_order(
    engine: PrivateEngine, capfd: pytest.CaptureFixture[str]
) -> None:
    expected = await tokens(engine, Prompt((7,)), Sampling(5, seed=3))
    await anext(begun := engine.generate(Prompt((1,), trace_id="begun"), LONG))
    kill(engine, signal.SIGSTOP)
    names = [f"waiting-{i}" for i in range(20)]
    waiting = [
        asyncio.create_task(tokens(engine, Prompt((7,), trace_id=name), Sampling(5, seed=3)))
        for name in names
    ]
    await asyncio.sleep(0)
    given_up = waiting.pop()
    given_up.cancel()
    kill(engine)
    await ends_with_an_error(begun)
    assert await asyncio.gather(*waiting) == [expected] * 19
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    begun_in_order = [line["trace_id"] for line in lines if line["event"] == "generation begun"]
    assert [name for name in begun_in_order if name in names] == names[:-1]


async def test_what_engines_die_of_is_not_carried_over_for_ever(engine: PrivateEngine) -> None:
    with pytest.raises(EngineUnavailable):
        await tokens(engine, Prompt((POISONS,)), LONG)
    assert await tokens(engine, Prompt((1,)), Sampling(2))
    assert engine.process.n_restarts == MOST_DEATHS


async def test_closing_fails_what_waits_for_the_next_worker(engine: PrivateEngine) -> None:
    kill(engine)
    await until(lambda: engine.unready() == "engine_dead")
    waiting = asyncio.create_task(tokens(engine, Prompt((1,)), LONG))
    await asyncio.sleep(0)
    await engine.aclose()
    with pytest.raises(EngineUnavailable, match="engine_closed"):
        await waiting


@pytest.mark.parametrize("hang_s", [HANG_S])
async def test_a_worker_that_was_slow_to_be_asked_is_not_killed(engine: PrivateEngine) -> None:
    pid = engine.process.pid
    for _ in range(2):
        time.sleep(1.5 * HANG_S)  # noqa: ASYNC251 - that the loop stands still is the point
        await asyncio.sleep(0.1)
    assert engine.process.pid == pid
    assert engine.unready() is None


async def test_a_worker_that_never_is_ready_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "START_S", 0.3)
    engine = private(changed(START, loads_s=60), command=COMMAND)
    with pytest.raises(EngineUnavailable, match="was not ready within"):
        await engine.start()
    assert engine.process.pid is None


async def test_a_signal_to_the_whole_service_is_left_to_its_owner(engine: PrivateEngine) -> None:
    await anext(chunks := engine.generate(Prompt((1,)), Sampling(200)))
    for signum in (signal.SIGTERM, signal.SIGINT):
        kill(engine, signum)
    assert [chunk async for chunk in chunks][-1].finish == "length"


async def test_restarts_that_do_not_help_end_it_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervision, "MOST_RESTARTS", 2)
    owner = EngineProcess(START, command=COMMAND)
    client = HostedEngine(owner.path, START.served)
    client.connect()
    started: list[None] = []
    running = asyncio.create_task(owner.run(lambda: started.append(None)))
    for _ in range(3):
        await client.ready()
        assert owner.pid
        os.kill(owner.pid, signal.SIGKILL)
        await until(lambda: client.unready() == "engine_dead")
        await asyncio.sleep(0.2)
    with pytest.raises(EngineUnavailable, match="after 2 restarts"):
        await running
    assert len(started) == 1
    assert owner.pid is None
    assert not Path(owner.path).parent.exists()
    assert client.unready() == "engine_dead"
    await client.aclose()
    await owner.aclose()


@asynccontextmanager
async def another_process(path: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A client in a process of its own. It answers every line on its input with the result of a
    generation.
    """
    program = f"""
import asyncio, sys
from tests.conformance.engines.fake_worker import START
from tessera.core.generation import Prompt, Sampling
from tessera.engine.host.client import HostedEngine
from tessera.errors import EngineUnavailable

async def main():
    engine = HostedEngine({path!r}, START.served)
    engine.connect()
    while line := await asyncio.to_thread(sys.stdin.readline):
        try:
            n = 0
            async for chunk in engine.generate(Prompt((5,)), Sampling(int(line))):
                if not n:
                    print("begun", flush=True)
                n += len(chunk.token_ids)
        except EngineUnavailable:
            n = "unavailable"
        print(n, flush=True)
    await engine.aclose()

asyncio.run(main())
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    pipe = asyncio.subprocess.PIPE
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdin=pipe, stdout=pipe, env=environment
    )
    try:
        yield running
    finally:
        running.kill()
        await running.wait()


@pytest.mark.parametrize("hang_s", [HANG_S])
async def test_clients_in_several_processes_outlive_the_worker(engine: PrivateEngine) -> None:
    async def said() -> str:
        assert other.stdout
        async with asyncio.timeout(60):
            return (await other.stdout.readline()).decode().strip()

    second = HostedEngine(engine.process.path, START.served)
    second.connect()
    async with another_process(engine.process.path) as other:
        assert other.stdin
        for signum in (signal.SIGKILL, signal.SIGSTOP):
            other.stdin.write(b"100000\n")
            assert await said() == "begun"
            ours = [each.generate(Prompt((1,)), LONG) for each in (engine, second)]
            for chunks in ours:
                await anext(chunks)
            kill(engine, signum)
            for chunks in ours:
                await ends_with_an_error(chunks)
            assert await said() == "unavailable"
            other.stdin.write(b"30\n")
            found = await asyncio.gather(
                *(tokens(each, Prompt((1,)), Sampling(9)) for each in (engine, second))
            )
            assert [len(each) for each in found] == [9, 9]
            assert [await said(), await said()] == ["begun", "30"]
    await second.aclose()
    assert engine.process.n_restarts == 2


async def test_whoever_connects_before_there_is_a_worker_is_served_by_it() -> None:
    owner = EngineProcess(changed(START, loads_s=0.2), command=COMMAND)
    clients = [HostedEngine(owner.path, START.served) for _ in range(3)]
    for client in clients:
        client.connect()
    await asyncio.sleep(0.01)
    assert {client.unready() for client in clients} == {"engine_starting"}
    running = asyncio.create_task(owner.run(lambda: None))
    found = await asyncio.gather(*(tokens(client, Prompt((1,)), Sampling(3)) for client in clients))
    assert [len(each) for each in found] == [3, 3, 3]
    for client in clients:
        await client.aclose()
    running.cancel()
    await asyncio.wait({running})
    assert running.cancelled()
    assert owner.pid is None


async def test_a_folder_for_temporary_files_may_have_a_long_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder := tmp_path / ("long-" * 30)).mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert tempfile.gettempdir() == str(folder)
    engine = private(START, command=COMMAND)
    await engine.start()
    directory = Path(engine.process.path).parent
    assert directory.stat().st_mode & 0o777 == 0o700
    assert len(await tokens(engine, Prompt((1,)), Sampling(3))) == 3
    await engine.aclose()
    assert not directory.exists()


async def test_without_a_place_for_its_socket_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/absent")  # a short name, or another place would be taken
    with pytest.raises(EngineUnavailable, match=r"/absent: No such file or directory\. Set TMPDIR"):
        await EngineProcess(START, command=COMMAND).run(lambda: pytest.fail("it runs"))


async def test_a_process_that_was_closed_does_not_run() -> None:
    owner = EngineProcess(START, command=COMMAND)
    await owner.aclose()
    await owner.run(lambda: pytest.fail("it runs"))
    assert owner.pid is None
