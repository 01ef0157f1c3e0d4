"""What a collector of traces is told of real requests."""

import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from tests.otlp_receiver import Receiver, attributes, plain
from tests.serving import Server, ask, free_port
from tests.waiting import wait_for

from tessera.errors import StartupError
from tessera.observe.metrics import Metrics
from tessera.server import wiring as assembly
from tessera.settings import Settings

CHAT = "/v1/chat/completions"
CANARY = "canary-in-the-crypt"
SOON = {"OTEL_BSP_SCHEDULE_DELAY": "50"}
Serve = Callable[..., Server]


@pytest.fixture
def traced(service: Serve, receiver: Receiver) -> Server:
    return serve_traced(service, receiver)


def serve_traced(service: Serve, receiver: Receiver, *arguments: object) -> Server:
    slow = ("--scripted-tokens-per-s", 50, *arguments)
    return service("--otlp-endpoint", receiver.url, *slow, OTEL_SERVICE_NAME="kitchen", **SOON)


def events(span: Span) -> list[tuple[str, int]]:
    return [(event.name, event.time_unix_nano) for event in span.events]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_reply_is_a_span_with_what_was_asked_and_what_it_took(
    traced: Server, receiver: Receiver, stream: bool
) -> None:
    asked = ask(
        stream=stream, temperature=0.5, top_p=0.9, top_k=7, seed=3, n=2, presence_penalty=0.25, stop=[CANARY]
    )
    trace_id, parent_id = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    headers = {
        "traceparent": f"00-{trace_id}-{parent_id}-01",
        "tracestate": f"vendor={CANARY}",
        "X-Request-Id": "my-request",
    }
    begun_ns = time.time_ns()
    with traced.client() as client:
        reply = client.post(CHAT, json=asked | {"model": "Qwen/Qwen3.6-35B-A3B"}, headers=headers)
    assert reply.status_code == 200
    (span,) = receiver.spans(1)
    assert (span.name, span.kind) == ("chat Qwen/Qwen3.6-35B-A3B", Span.SPAN_KIND_SERVER)
    assert (span.trace_id.hex(), span.parent_span_id.hex(), span.trace_state) == (trace_id, parent_id, "")
    shown = attributes(span)
    first_s = shown.pop("gen_ai.response.time_to_first_chunk", None)
    assert isinstance(first_s, float) == stream
    assert reply.text.count(str(shown.pop("gen_ai.response.id"))) >= 1
    assert shown.pop("gen_ai.usage.input_tokens") > 5  # pyright: ignore[reportOperatorIssue]
    assert shown == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "tessera",
        "gen_ai.request.model": "Qwen/Qwen3.6-35B-A3B",
        "gen_ai.request.stream": stream,
        "gen_ai.request.choice.count": 2,
        "gen_ai.request.max_tokens": 5,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 0.9,
        "gen_ai.request.top_k": 7,
        "gen_ai.request.presence_penalty": 0.25,
        "gen_ai.request.seed": 3,
        "gen_ai.output.type": "text",
        "gen_ai.response.model": "tessera/scripted",
        "gen_ai.response.finish_reasons": ["length", "length"],
        "gen_ai.usage.output_tokens": 10,
        "gen_ai.usage.cache_read.input_tokens": 0,
        "gen_ai.usage.reasoning.output_tokens": 0,
        "tessera.request.id": "my-request",
    }
    assert [name for name, _ in events(span)] == [
        f"tessera.{step}" for step in ("admitted", "queued", "started", "first_token", "finished", "settled")
    ]
    steps_ns = [at_ns for _, at_ns in events(span)]
    times_ns = [begun_ns, span.start_time_unix_nano, *steps_ns, span.end_time_unix_nano]
    assert times_ns == sorted(times_ns)
    assert times_ns[-1] < time.time_ns()
    assert span.status.code == Status.STATUS_CODE_UNSET
    resource = {
        each.key: plain(each.value) for each in receiver.requests[0].resource_spans[0].resource.attributes
    }
    assert (resource["service.name"], "service.version" in resource) == ("kitchen", True)
    assert CANARY.encode() not in b"".join(receiver.bodies)


def outcome(span: Span) -> tuple[str, object, bool]:
    return span.name, attributes(span).get("error.type"), span.status.code == Status.STATUS_CODE_ERROR


def test_what_fails_says_why_and_whose_fault_it_is(service: Serve, receiver: Receiver) -> None:
    with serve_traced(service, receiver, "--deadline-s", 2).client() as client:

        def post(**fields: Any) -> int:
            return client.post(CHAT, json=ask(**fields)).status_code

        assert post(model=CANARY) == 404
        assert post(temperature=CANARY) == 400
        assert post(messages=[{"role": "user", "content": CANARY * 20_000}]) == 413
        assert post(max_tokens=1000) == 504
        with client.stream("POST", CHAT, json=ask(stream=True, max_tokens=1000)) as reply:
            assert "engine_timeout" in reply.read().decode()
        with client.stream("POST", CHAT, json=ask(stream=True, max_tokens=1000)) as reply:
            next(reply.iter_bytes())
        assert client.post(CHAT, json=ask(), headers={"Authorization": "Bearer wrong"}).status_code == 401
    spans = receiver.spans(6)
    named = "chat tessera/scripted"
    assert [outcome(span) for span in spans] == [
        ("chat", "model_not_found", False),
        ("chat", "invalid_value", False),
        (named, "context_length_exceeded", False),
        (named, "engine_timeout", True),
        (named, "engine_timeout", True),
        (named, "client_gone", False),
    ]
    for span in spans[-3:]:
        assert [name for name, _ in events(span)][2:4] == ["tessera.started", "tessera.first_token"]
    assert all(attributes(span)["gen_ai.usage.output_tokens"] for span in spans[-3:])
    assert not any(span.parent_span_id for span in spans)
    assert CANARY.encode() not in b"".join(receiver.bodies)


def test_who_says_not_to_sample_is_not_sampled(traced: Server, receiver: Receiver) -> None:
    with traced.client() as client:
        for flags in ("00", "01"):
            headers = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-{flags}"}
            assert client.post(CHAT, json=ask(), headers=headers).status_code == 200
    assert len(receiver.spans(1)) == 1


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.full)])
def test_the_last_spans_are_sent_at_the_end(service: Serve, receiver: Receiver, workers: int) -> None:
    server = service("--otlp-endpoint", receiver.url, "--workers", workers)
    with server.client() as client:
        assert client.post(CHAT, json=ask()).status_code == 200
    assert server.stop()[0] == 0
    assert len(receiver.spans()) == 1


def test_without_a_collector_everything_goes_on(service: Serve) -> None:
    port = free_port()
    nowhere = ("--otlp-endpoint", f"http://127.0.0.1:{free_port()}", "--admin-port", port)
    quick = {"OTEL_BSP_MAX_QUEUE_SIZE": "4", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "2"}
    server = service(*nowhere, OTEL_EXPORTER_OTLP_TIMEOUT="0.2", **quick, **SOON)

    def lost() -> bool:
        return (
            "tessera_spans_lost_total 0.0"
            not in httpx2.get(f"http://127.0.0.1:{port}/metrics", timeout=60).text
        )

    with server.client() as client:
        for _ in range(20):
            assert client.post(CHAT, json=ask(max_tokens=1)).status_code == 200
        wait_for(lost)
    code, log = server.stop()
    assert (code, log.count("traces cannot be sent")) == (0, 1)
    assert "Traceback" not in log


@pytest.mark.full
def test_a_collector_that_is_silent_does_not_hold_up_the_end(service: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = service("--otlp-endpoint", f"http://127.0.0.1:{silent.getsockname()[1]}", **SOON)
        with server.client() as client:
            assert client.post(CHAT, json=ask()).status_code == 200
        begun = time.monotonic()
        assert server.stop()[0] == 0
        assert time.monotonic() - begun < 8


def test_a_missing_library_is_named_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    assert assembly.traces(Settings(), Metrics()) is None
    monkeypatch.setitem(sys.modules, "tessera.observe.otlp", None)
    with pytest.raises(StartupError, match=r"pip install 'tessera-serve\[otel\]'"):
        assembly.traces(Settings(otlp_endpoint="http://127.0.0.1:1"), Metrics())


def test_variables_that_contradict_each_other_stop_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")
    with pytest.raises(StartupError, match=r"OTEL_… make no sense: .*max_queue_size"):
        assembly.traces(Settings(otlp_endpoint="http://127.0.0.1:1"), Metrics())
