"""`tessera bench` against real servers: ours, and one that misbehaves in every way a table can name."""

import asyncio
import json
import re
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from tessera.bench.figures import measure_round
from tessera.bench.plan import Findings, Workload, measure
from tessera.bench.rounds import Limits, Round, run_round
from tessera.bench.sample import Failure, Sample
from tessera.bench.server import Server, find
from tessera.bench.shapes import SHAPES
from tessera.engine.scripted.engine import paced
from tessera.errors import CommandError

Run = Callable[..., tuple[int, str, str]]

SPREAD = {
    "anyOf": [
        {"type": "null"},
        {
            "type": "object",
            "properties": {name: {"type": "number", "minimum": 0} for name in ("p50", "p90", "p99")},
            "required": ["p50", "p90", "p99"],
            "additionalProperties": False,
        },
    ]
}
MEASURES: dict[str, Any] = {
    "tokens_per_s": {"type": "number", "minimum": 0},
    "requests_per_s": {"type": "number", "minimum": 0},
    "ttft_ms": SPREAD,
    "tpot_ms": SPREAD,
    "gap_ms": SPREAD,
    "total_ms": SPREAD,
    "replies": {"type": "integer", "minimum": 0},
    "tokens_per_reply": {"type": "integer", "minimum": 0},
    "prompt_tokens": {"type": ["integer", "null"]},
    "counted_by": {"enum": ["usage", "events", "both", None]},
    "errors": {"type": "object", "additionalProperties": {"type": "integer", "minimum": 1}},
}


def exactly(properties: Mapping[str, Any], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {
        "type": "object",
        "properties": dict(properties),
        "required": required,
        "additionalProperties": False,
    }


REPORT = exactly(
    {
        "command": {"type": "string", "pattern": "^tessera bench "},
        "began": {"type": "string", "format": "date-time"},
        "machine": {"type": "object", "required": ["cpu", "cores", "memory", "system", "python"]},
        "versions": {"type": "object", "required": ["tessera-serve"]},
        "servers": {
            "type": "array",
            "minItems": 1,
            "items": exactly(
                {"name": {"type": "string"}, "url": {"type": "string"}, "model": {"type": ["string", "null"]}}
            ),
        },
        "plan": {
            "type": "object",
            "required": ["shapes", "streams", "rounds", "requests", "seconds", "seed"],
        },
        "figures": {
            "type": "array",
            "items": exactly(
                {
                    "server": {"type": "string"},
                    "shape": {"enum": list(SHAPES)},
                    "streams": {"type": "integer"},
                    **MEASURES,
                    "main_ratio": exactly(
                        {
                            "tokens_per_s": {"type": ["number", "null"]},
                            "ttft_p50": {"type": ["number", "null"]},
                        }
                    ),
                    "rounds": {"type": "array", "minItems": 1, "items": exactly(MEASURES)},
                },
                optional=("main_ratio",),
            ),
        },
        "refusals": {
            "type": "array",
            "items": exactly({name: {"type": "string"} for name in ("server", "shape", "message")}),
        },
    }
)

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CLOSED, CHUNKED = HEAD + b"Connection: close\r\n\r\n", HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'
END = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


def saying(*blocks: bytes, pause_s: float = 0.0) -> Behaviour:
    """Writes the blocks, and closes the connection."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for block in blocks:
            writer.write(block)
            await writer.drain()
            await asyncio.sleep(pause_s)

    return behave


def staying_open(*blocks: bytes) -> Behaviour:
    """Writes the blocks, and leaves the connection open until the client closes it."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(blocks))
        await reader.read()

    return behave


async def resetting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(CLOSED + TEXT)
    await writer.drain()
    writer.transport.abort()


def refusing(status: int, code: str) -> bytes:
    body = json.dumps({"error": {"message": f"It is {code}.", "type": "api_error", "code": code}}).encode()
    return b"HTTP/1.1 %d No\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


def chunk(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(body), body)


Serve = Callable[[Behaviour], str]


@pytest.fixture
def misbehave() -> Iterator[Serve]:
    """Serves one behaviour on a free port, in a thread, and yields the URL. Other paths than the chat's are
    404.
    """
    loop, listeners = asyncio.new_event_loop(), list[asyncio.Server]()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def start(behaviour: Behaviour) -> str:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError, asyncio.IncompleteReadError), closing(writer):
                head = await reader.readuntil(b"\r\n\r\n")
                lengths = [line for line in head.splitlines() if line.startswith(b"Content-Length:")]
                await reader.readexactly(int(lengths[0][15:]) if lengths else 0)
                is_chat = head.startswith(b"POST /v1/chat/completions ")
                await (behaviour if is_chat else saying(refusing(404, "not_found")))(reader, writer)

        starting = asyncio.start_server(answer, "127.0.0.1", 0)
        listeners.append(asyncio.run_coroutine_threadsafe(starting, loop).result(60))
        return f"http://127.0.0.1:{listeners[-1].sockets[0].getsockname()[1]}"

    yield start

    async def stop() -> None:
        for each in listeners:
            each.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0.01)  # connections close in a later turn of the loop

    asyncio.run_coroutine_threadsafe(stop(), loop).result(60)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(60)
    loop.close()


def ask(url: str, n_requests: int = 1, **limits: Any) -> Round:
    """Runs one round of the chat shape."""

    async def run() -> Round:
        server = await find("it", url, None)
        shape = SHAPES["chat"]
        return await run_round(
            server,
            lambda *_: {"messages": [], "n": shape.name},
            2,
            Limits(n_requests, **limits),
            lambda _: None,
        )

    return asyncio.run(run())


def test_the_command_measures_a_server_and_a_peer(serve: Any, tessera: Run, tmp_path: Path) -> None:
    served, peer = serve(), serve()
    files = tmp_path / "run.json", tmp_path / "run.svg"
    code, output, said = tessera(
        "bench", "--url", served.url, "--peer", f"other={peer.url}/v1", "--shape", "chat,prefix,schema",
        "--streams", "1,3", "--rounds", 2, "--requests", 2, "--max-tokens", 7, "--seed", 5,
        "--prompt-tokens", 100, "--json", files[0], "--svg", files[1],
        TESSERA_API_KEY=served.key,
    )  # fmt: skip
    assert code == 0, said
    measured = json.loads(files[0].read_text())
    jsonschema_rs.validator_for(REPORT, validate_formats=True).validate(measured)
    assert served.key not in files[0].read_text() + output + said
    assert [server["model"] for server in measured["servers"]] == ["tessera/scripted"] * 2
    expected = [(s, n, name) for s in ("chat", "prefix") for n in (1, 3) for name in ("tessera", "other")]
    assert [(each["shape"], each["streams"], each["server"]) for each in measured["figures"]] == expected
    for figure in measured["figures"]:
        assert (figure["replies"], figure["tokens_per_reply"]) == (2 * 2 * figure["streams"], 7)
        assert (figure["counted_by"], figure["errors"], len(figure["rounds"])) == ("usage", {}, 2)
        assert ("main_ratio" in figure) == (figure["server"] == "other")
    # These engines know no grammars: both say so once, and are not asked again.
    assert [(each["server"], each["shape"]) for each in measured["refusals"]] == [
        ("tessera", "schema"),
        ("other", "schema"),
    ]
    assert output.count("does not do schema: 400 unsupported_parameter") == 2
    assert served.engine.n_finished == peer.engine.n_finished == 2 * (1 + 3) * (1 + 2 * 2)
    points = [each for each in ElementTree.parse(files[1]).iter() if each.get("class") == "point"]
    assert len(points) == 2 * len(expected)
    rows = [line for line in output.splitlines() if line.startswith(("| chat", "| prefix"))]
    assert len(rows) == len(expected)
    assert "chat, streams 3, other, round 2 of 2:" in said


def test_questions_are_the_same_for_all_and_never_repeated(serve: Any) -> None:
    served = [serve(), serve()]
    asked: list[list[tuple[int, ...]]] = [[], []]
    for engine, prompts in zip((each.engine for each in served), asked, strict=True):
        engine.script = lambda prompt, _, prompts=prompts: prompts.append(tuple(prompt.token_ids)) or [65]

    async def run() -> None:
        servers = [await find(f"s{i}", each.url, each.key) for i, each in enumerate(served)]
        plan = Workload((SHAPES["chat"], SHAPES["long"]), (1, 4), 2, Limits(2), 3, 4, 50)
        await measure(plan, servers, Findings(), Silent())

    asyncio.run(run())
    assert len(asked[0]) == len(set(asked[0])) == 2 * (1 + 4) * (1 + 2 * 2)
    assert sorted(asked[0]) == sorted(asked[1])


class Silent:
    """A `Watch` that only counts its calls."""

    n_expected, n_over = 0, 0.0

    def expect(self, n_rounds: int) -> None:
        self.n_expected = n_rounds

    def begin(self, text: str) -> None:
        pass

    def advance(self, n_rounds: float) -> None:
        assert n_rounds >= 0
        self.n_over += n_rounds

    def note(self, text: str) -> None:
        pass


def test_progress_ends_where_it_was_expected(serve: Any) -> None:
    served, watch = serve(), Silent()

    async def run() -> None:
        server = await find("it", served.url, served.key)
        plan = Workload((SHAPES["chat"], SHAPES["tools"]), (1, 2), 2, Limits(1, seconds=0.1), 3, 4)
        await measure(plan, [server], Findings(), watch)

    asyncio.run(run())
    assert watch.n_expected == 2 * 2 * 3
    assert watch.n_over == pytest.approx(watch.n_expected)


def test_times_are_those_of_the_server(serve: Any) -> None:
    served = serve(timing=paced(50, first_s=0.3))

    async def run() -> Round:
        server = await find("it", served.url, served.key)
        body = {"messages": [{"role": "user", "content": "Hi"}], "stream": True, "max_tokens": 11}
        return await run_round(server, lambda *_: body, 2, Limits(1), lambda _: None)

    found = measure_round(asyncio.run(run()))
    assert found.counted_by == "events"  # no usage was asked for
    assert found.ttft_s is not None
    assert found.tpot_s is not None
    assert found.total_s is not None
    assert 0.3 <= found.ttft_s.p50 < 15
    assert 0.019 < found.tpot_s.p50 < 2
    assert found.total_s.p50 >= 0.5


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (saying(refusing(500, "oh_no")), "500 oh_no"),
        (saying(refusing(503, "engine_overloaded")), "503 engine_overloaded"),
        (saying(CLOSED + TEXT, TEXT), "cut off"),
        (saying(CHUNKED + chunk(TEXT), b"40\r\ndata: {"), "cut off"),
        (resetting, "cut off"),
        (saying(), "cut off"),
        (saying(CLOSED, TEXT, b'data: {"error":{"code":"engine_error"}}\n\n'), "stream: engine_error"),
        (saying(b"nonsense\r\n\r\n"), "not understood"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_an_error_by_its_name(misbehave: Serve, behaviour: Behaviour, reason: str) -> None:
    round = ask(misbehave(behaviour), n_requests=2)
    assert [each.reason for each in round.outcomes if isinstance(each, Failure)] == [reason] * 4
    assert measure_round(round).errors == {reason: 4}


@pytest.mark.parametrize("behaviour", [staying_open(CLOSED, TEXT), staying_open()])
def test_what_takes_too_long_is_an_error(misbehave: Serve, behaviour: Behaviour) -> None:
    round = ask(misbehave(behaviour), deadline_s=0.4, n_requests=2)
    assert measure_round(round).errors == {"deadline passed": 4}


@pytest.mark.parametrize(
    "behaviour",
    [
        saying(CLOSED, TEXT, TEXT, TEXT, END),
        saying(CHUNKED, chunk(TEXT[:9]), chunk(TEXT[9:] + TEXT), chunk(TEXT + END), b"0\r\n\r\n"),
        staying_open(CHUNKED, chunk(TEXT), chunk(TEXT), chunk(TEXT), chunk(END), b"0\r\n\r\n"),
        saying(CLOSED, b": ping\r\n\r\n", TEXT.replace(b"\n", b"\r\n") * 3, END, pause_s=0.02),
    ],
)
def test_a_server_without_usage_is_counted_by_events(misbehave: Serve, behaviour: Behaviour) -> None:
    outcomes = ask(misbehave(behaviour)).outcomes
    assert [(s.n_tokens, s.counted_by) for s in outcomes if isinstance(s, Sample)] == [(3, "events")] * 2


def test_a_server_that_fails_at_once_is_not_asked_as_fast_as_one_can(misbehave: Serve) -> None:
    round = ask(misbehave(saying(refusing(503, "full"))), n_requests=1, seconds=0.5)
    assert 2 <= len(round.outcomes) <= 2 * 6


def test_seconds_are_kept_and_running_replies_finished(misbehave: Serve) -> None:
    round = ask(misbehave(saying(CLOSED, TEXT, TEXT, END, pause_s=0.05)), n_requests=1, seconds=2)
    assert all(isinstance(each, Sample) for each in round.outcomes)
    assert len(round.outcomes) > 2
    assert 1.5 <= round.took_s < 20


def test_another_host_is_refused_and_nothing_is_sent(tessera: Run) -> None:
    for flags in (["--url", "http://192.0.2.1:8000"], ["--peer", "far=http://192.0.2.1:8000"]):
        code, output, _ = tessera("bench", *flags, TESSERA_API_KEY="secret")
        assert (code, output) == (2, "")
    assert (
        "192.0.2.1 is 192.0.2.1, which is not this machine: only loopback"
        in tessera("bench", TESSERA_URL="http://192.0.2.1:8000")[2]
    )


@contextmanager
def refused(message: str) -> Iterator[None]:
    with pytest.raises(CommandError) as caught:
        yield
    assert message in caught.value.message


def test_a_server_that_is_not_there_or_takes_no_such_key_is_said_so(serve: Any) -> None:
    def seek(url: str, key: str | None) -> Server:
        return asyncio.run(find("it", url, key))

    with refused("No server answers at http://127.0.0.1:9: ECONNREFUSED"):
        seek("http://127.0.0.1:9", None)
    with refused("it does not take the key (401): set TESSERA_API_KEY"):
        seek(serve().url, "sk-tessera-wrong")


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--shape", "chat,poem"], "poem is not one of chat, long"),
        (["--streams", "1,0"], "'1,0' is not a list of numbers"),
        (["--peer", "other"], "'other' is not of the form NAME=URL"),
        (["--peer", "tessera=http://127.0.0.1:1"], "--peer: tessera is already the name of the server"),
        (["--api-key", "x"], "--api-key"),
    ],
)
def test_a_wrong_flag_is_named(flags: list[str], named: str, tessera: Run) -> None:
    code, _, said = tessera("bench", *flags)
    assert (code, named in said.splitlines()[-1]) == (2, True), said


def test_a_server_that_never_answers_well_is_a_failure(misbehave: Serve, tessera: Run) -> None:
    url = misbehave(saying(refusing(500, "oh_no")))
    code, output, said = tessera("bench", "--url", url, "--streams", 2, "--rounds", 1)
    assert (code, "2 × 500 oh_no" in output) == (1, True)
    assert said.splitlines()[-1] == "Error: No reply of tessera ended well."


def test_an_interrupt_shows_what_there_is(serve: Any, start: Any, tmp_path: Path) -> None:
    served, file = serve(timing=paced(100)), tmp_path / "run.json"
    process = start(
        "bench", "--url", served.url, "--streams", "1,2", "--rounds", 50, "--max-tokens", 10, "--json", file,
        TESSERA_API_KEY=served.key,
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if "round 2 of 50" in line:
            break
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, said = process.communicate(timeout=300)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    (figure,) = json.loads(file.read_text())["figures"]
    assert 2 <= len(figure["rounds"]) < 50
    assert "| chat" in output
    served.wait_until_idle()


README = Path(__file__).parents[3] / "benchmarks" / "README.md"


@pytest.mark.parametrize(
    "module", sorted(set(re.findall(r"python -m (benchmarks\.\w+)", README.read_text())))
)
def test_a_published_benchmark_starts(module: str) -> None:
    started = subprocess.run(
        [sys.executable, "-m", module, "--help"],
        cwd=README.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert started.returncode == 0, started.stderr
    assert f"usage: python -m {module}" in started.stdout
