"""The engine's process: how it starts, shares, fails and ends. The core in it is `fake_worker.FakeCore`."""

import asyncio
import json
import os
import signal
import socket
import stat
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from tests.conformance.engines import fake_worker
from tests.conformance.engines.fake_worker import COMMAND, START
from tests.hosted import changed, private
from tests.waiting import until

from tessera.core.generation import Prompt, Sampling
from tessera.engine.host.frames import FROM_WORKER, FrameReader, Hello, Ping, Step, Submit, pack
from tessera.engine.host.private import PrivateEngine
from tessera.errors import EngineUnavailable, GenerationFailed, GrammarTooSlow

pytestmark = pytest.mark.anyio

REFUSED, FAILS, TELLS_ENVIRONMENT, FLOODS = (
    Prompt((token,))
    for token in (fake_worker.REFUSED, fake_worker.FAILS, fake_worker.TELLS_ENVIRONMENT, fake_worker.FLOODS)
)
PLAIN = Prompt((1, 2, 3))
LONG = Sampling(max_tokens=10_000)


@pytest.fixture
def sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the private directories of the sockets are made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
async def engine(sockets: Path, anyio_backend: str) -> AsyncIterator[PrivateEngine]:
    engine = private(START, command=COMMAND)
    await engine.start()
    yield engine
    await engine.aclose()


def directories(sockets: Path) -> list[int]:
    """The permissions of the directories that exist."""
    return [stat.S_IMODE(directory.stat().st_mode) for directory in sockets.iterdir()]


def runs(pid: int) -> bool:
    """Whether the process exists; a zombie counts."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def n_tokens(engine: PrivateEngine, prompt: Prompt, sampling: Sampling) -> int:
    async with aclosing(engine.generate(prompt, sampling)) as chunks:
        return sum([len(chunk.token_ids) async for chunk in chunks])


async def test_what_is_asked_while_it_starts_waits_for_it(sockets: Path) -> None:
    engine = private(changed(START, loads_s=2), command=COMMAND)
    assert engine.unready() == "engine_starting"
    assert engine.info == START.served
    starting = asyncio.create_task(engine.start())
    early = asyncio.create_task(n_tokens(engine, PLAIN, Sampling(3)))
    await asyncio.sleep(0.05)
    assert engine.unready() == "engine_starting"
    assert not early.done()
    await starting
    assert engine.unready() is None
    assert engine.info.context_tokens == 2048, "what the worker says replaces what was asked of it"
    assert await early == 3
    await engine.aclose()


async def test_closing_leaves_no_process_and_no_socket(engine: PrivateEngine, sockets: Path) -> None:
    assert directories(sockets) == [0o700]
    pid = engine.process.pid
    assert pid
    assert runs(pid)
    await engine.aclose()
    assert not runs(pid)
    assert directories(sockets) == []
    assert engine.unready() == "engine_closed"
    with pytest.raises(EngineUnavailable):
        await engine.start()


async def test_closing_while_it_starts_ends_the_start(sockets: Path) -> None:
    for delay_s in (0.0, 0.02, 0.2):
        engine = private(changed(START, loads_s=2), command=COMMAND)
        starting = asyncio.create_task(engine.start())
        await asyncio.sleep(delay_s)
        await engine.aclose()
        with pytest.raises(EngineUnavailable):
            await starting
        assert engine.process.pid is None
        assert directories(sockets) == []


async def test_a_cancelled_start_leaves_nothing(sockets: Path) -> None:
    engine = private(changed(START, loads_s=2), command=COMMAND)
    starting = asyncio.create_task(engine.start())
    await until(lambda: engine.process.pid is not None)
    starting.cancel()
    await asyncio.wait([starting])
    assert starting.cancelled()
    assert engine.unready() == "engine_closed"
    assert engine.process.pid is None
    assert directories(sockets) == []


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (COMMAND, "did not start: it ended with exit code 1"),
        (("/nonexistent/worker",), "did not start: it could not be started"),
    ],
    ids=["ends", "is not there"],
)
async def test_a_worker_that_cannot_load_makes_the_start_fail(
    sockets: Path, command: tuple[str, ...], why: str
) -> None:
    engine = private(changed(START, missing="model"), command=command)
    with pytest.raises(EngineUnavailable, match=why):
        await engine.start()
    assert directories(sockets) == []
    with pytest.raises(EngineUnavailable):
        await n_tokens(engine, PLAIN, Sampling(1))


async def test_a_failure_that_would_come_again_keeps_its_class(engine: PrivateEngine) -> None:
    with pytest.raises(GrammarTooSlow, match="too slow") as failed:
        await n_tokens(engine, Prompt((fake_worker.TOO_SLOW,)), LONG)
    assert not failed.value.retryable
    assert failed.value.status == 422


@pytest.mark.parametrize("prompt", [REFUSED, FAILS], ids=["at once", "on the way"])
async def test_one_generation_fails_and_the_others_go_on(engine: PrivateEngine, prompt: Prompt) -> None:
    other = engine.generate(PLAIN, Sampling(50))
    await anext(other)
    with pytest.raises(GenerationFailed) as failed:
        await n_tokens(engine, prompt, LONG)
    assert fake_worker.PRIVATE not in failed.value.message
    assert [chunk async for chunk in other][-1].finish == "length"
    await until(lambda: engine.gauges["running"] == 0)


async def test_the_environment_of_the_worker_holds_no_secrets(
    sockets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESSERA_SECRET", "s")
    engine = private(START, command=COMMAND)
    await engine.start()
    with pytest.raises(GenerationFailed) as told:
        await n_tokens(engine, TELLS_ENVIRONMENT, LONG)
    names = set(told.value.message.split())
    assert "PATH" in names
    assert names <= {
        "PATH",
        "HOME",
        "LANG",
        "LC_ALL",
        "LC_CTYPE",
        "TMPDIR",
        "PYTHONPATH",
        "PYTHONSAFEPATH",
        "LD_LIBRARY_PATH",
        "MALLOC_TRIM_THRESHOLD_",
        "MALLOC_MMAP_THRESHOLD_",
    }
    await engine.aclose()


async def test_the_worker_has_a_session_of_its_own(engine: PrivateEngine) -> None:
    """An interrupt typed into the terminal goes to the service alone, which then drains."""
    assert engine.process.pid
    assert os.getsid(engine.process.pid) == engine.process.pid


@pytest.mark.parametrize("options", [{}, {"helped": True}], ids=["alone", "with a process of its own"])
async def test_the_worker_ends_with_its_parent(tmp_path: Path, options: dict[str, bool]) -> None:
    parent = tmp_path / "parent.py"
    parent.write_text(f"""
import asyncio, os, signal
import msgspec
from tessera.core.generation import Prompt, Sampling
from tessera.engine.host.frames import Start
from tessera.engine.host.private import PrivateEngine
from tessera.engine.host.process import EngineProcess

async def main():
    start = msgspec.msgpack.decode({msgspec.msgpack.encode(changed(START, **options))!r}, type=Start)
    engine = PrivateEngine(EngineProcess(start, command={COMMAND!r}))
    await engine.start()
    await anext(engine.generate(Prompt((1,)), Sampling(100_000)))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
""")
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        str(parent),
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert running.stderr
    # The worker and its processes hold the same standard error: it is at its end only when all are gone.
    async with asyncio.timeout(60):
        assert await running.stderr.read() == b""
        assert await running.wait() == -signal.SIGKILL


class Client:
    """A second client of the same worker, which can violate the protocol."""

    def __init__(self, sockets: Path) -> None:
        (path,) = sockets.glob("*/engine")
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(str(path))
        self._reader = FrameReader(FROM_WORKER)
        self._frames: list[Hello | Step] = []

    def frame(self) -> Hello | Step | None:
        """The next frame; None at the end."""
        while not self._frames:
            try:
                received = self.socket.recv(2**18)
            except ConnectionResetError:
                return None
            if not received:
                return None
            self._frames += self._reader.feed(received)
        return self._frames.pop(0)


async def test_clients_share_the_engine_and_each_gets_its_own(engine: PrivateEngine, sockets: Path) -> None:
    def generate() -> list[int]:
        client = Client(sockets)
        assert isinstance(client.frame(), Hello)
        client.socket.sendall(pack(Submit(0, Prompt((7,)), Sampling(30, seed=1))))
        tokens: list[int] = []
        while len(tokens) < 30:
            step = client.frame()
            assert isinstance(step, Step)
            assert all(id == 0 for id, _ in step.chunks)
            tokens += [token for _, chunk in step.chunks for token in chunk.token_ids]
        client.socket.close()
        return tokens

    async with aclosing(engine.generate(PLAIN, Sampling(100, seed=1))) as chunks:
        ours = [*(await anext(chunks)).token_ids]
        theirs = await asyncio.to_thread(generate)
        ours += [token async for chunk in chunks for token in chunk.token_ids]
    assert len(ours) == 100
    assert await tokens(engine, Prompt((7,)), Sampling(30, seed=1)) == theirs


async def tokens(engine: PrivateEngine, prompt: Prompt, sampling: Sampling) -> list[int]:
    return [token async for chunk in engine.generate(prompt, sampling) for token in chunk.token_ids]


@pytest.mark.parametrize(
    "farewell",
    [b"", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 8, pack(Submit(6, PLAIN, LONG)) * 2],
    ids=["eof", "http", "noise", "an id that is taken"],
)
async def test_a_client_that_goes_or_talks_nonsense_loses_its_generations_only(
    engine: PrivateEngine, sockets: Path, farewell: bytes
) -> None:
    def come_and_go() -> None:
        client = Client(sockets)
        client.socket.sendall(pack(Submit(5, PLAIN, LONG)) + pack(Submit(6, PLAIN, LONG)))
        while not (isinstance(step := client.frame(), Step) and step.chunks):
            pass
        if farewell:
            client.socket.sendall(farewell)
            while client.frame() is not None:
                pass
        client.socket.close()

    async with aclosing(engine.generate(PLAIN, LONG)) as chunks:
        await anext(chunks)
        await asyncio.to_thread(come_and_go)
        await until(lambda: engine.gauges["running"] == 1)
        assert await anext(chunks)
    await until(lambda: engine.gauges["running"] == 0)


async def test_a_client_that_does_not_read_is_dropped(engine: PrivateEngine, sockets: Path) -> None:
    client = Client(sockets)
    client.socket.sendall(pack(Submit(0, FLOODS, LONG)))
    await until(lambda: engine.gauges["running"] == 1)
    assert await n_tokens(engine, PLAIN, Sampling(20)) == 20
    await until(lambda: engine.gauges["running"] == 0)
    client.socket.close()


async def test_totals_are_told_but_are_no_reason_to_speak(engine: PrivateEngine, sockets: Path) -> None:
    """A client that is idle hears little of what others do, unless it asks."""

    def listen() -> list[Hello | Step]:
        client.socket.sendall(pack(Ping()))
        heard = [client.frame()]
        while (last := heard[-1]) and last.gauges["n_steps"] < 150:
            client.socket.sendall(pack(Ping()))
            heard.append(client.frame())
        client.socket.close()
        return [frame for frame in heard if frame]

    client = Client(sockets)
    assert isinstance(client.frame(), Hello)
    assert await n_tokens(engine, Prompt((1,) * 50), Sampling(100)) == 100
    n_unasked = len([client.frame() for _ in range(2)])
    client.socket.settimeout(0.05)
    with pytest.raises(TimeoutError):
        client.frame()
    assert n_unasked == 2, "one when it began, one when it ended"
    client.socket.settimeout(60)
    running = asyncio.create_task(n_tokens(engine, PLAIN, Sampling(100)))
    heard = await asyncio.to_thread(listen)
    assert all(isinstance(frame, Step) and not frame.chunks for frame in heard)
    assert heard[-1].gauges["prefix_queries"] == 53
    await running
    assert engine.gauges["n_steps"] == 200


async def test_every_generation_is_logged_under_its_trace_id_without_content(
    sockets: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    engine = private(changed(START, log_level="debug", log_format="json"), command=COMMAND)
    await engine.start()
    await n_tokens(engine, Prompt((1, 2, 3), trace_id="whole"), Sampling(9, n=2))
    async with aclosing(engine.generate(Prompt((1,), trace_id="left"), LONG)) as chunks:
        await anext(chunks)
    for prompt in (REFUSED, FAILS):
        with pytest.raises(GenerationFailed):
            await n_tokens(engine, replace(prompt, trace_id="failed"), LONG)
    await until(lambda: engine.gauges["running"] == 0)
    await engine.aclose()
    logged = capfd.readouterr().err
    assert fake_worker.PRIVATE not in logged
    lines = [json.loads(line) for line in logged.splitlines()]
    of = {
        name: [line for line in lines if line.get("trace_id") == name] for name in ("whole", "left", "failed")
    }
    begun, ended = of["whole"]
    assert (begun["event"], begun["prompt_tokens"], begun["cached_tokens"]) == ("generation begun", 3, 0)
    assert (ended["event"], ended["tokens"], ended["steps"], ended["finish"]) == (
        "generation ended",
        18,
        9,
        "length",
    )
    assert 0 <= begun["waited_s"] <= ended["duration_s"] < 60
    assert [line.get("finish") for line in of["left"]] == [None, "aborted"]
    assert [line["level"] for line in of["failed"]] == ["warning", "debug", "warning"]
    assert [of["failed"][i]["tokens"] for i in (0, 2)] == [0, 2]
