"""Replies as servers write them, to samples and failures."""

import json
from dataclasses import dataclass, field

import pytest

from tessera.bench.capture import Capture
from tessera.bench.sample import Failure, Sample

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


def event(delta: object = None, finish: str | None = None, **fields: object) -> bytes:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    chunk = {"id": "x", "object": "chat.completion.chunk", "choices": [choice], **fields}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def usage(n: int, prompt: int = 9) -> bytes:
    return event(
        choices=[], usage={"prompt_tokens": prompt, "completion_tokens": n, "total_tokens": n + prompt}
    )


DONE = b"data: [DONE]\n\n"
ROLE = event({"role": "assistant", "content": ""})
NULL_ROLE = event({"role": "assistant", "content": None}, usage=None)
TEXT = event({"content": "Hi"})
END = event({}, "stop")


@dataclass(frozen=True)
class Case:
    """A case. Its blocks arrive 10 ms apart, the first of them 10 ms after the request."""

    id: str
    blocks: list[bytes]
    times_ms: list[int] = field(default_factory=list)
    n_tokens: int = 0
    counted_by: str = "usage"


REPLIES = [
    Case("role-first", [HEAD, ROLE, TEXT, TEXT, END, usage(3), DONE], [30, 40], 3),
    Case("null-role-first", [HEAD + NULL_ROLE, TEXT, END + usage(2) + DONE], [20], 2),
    Case("finish-with-text", [HEAD, TEXT, event({"content": "."}, "length"), usage(2), DONE], [20, 30], 2),
    Case(
        "reasoning-content",
        [HEAD, event({"reasoning_content": "Hm"}), TEXT, END, usage(5), DONE],
        [20, 30],
        5,
    ),
    Case("reasoning", [HEAD, event({"reasoning": "Hm"}), TEXT, END, usage(5), DONE], [20, 30], 5),
    Case(
        "call",
        [HEAD, event({"tool_calls": [{"index": 0, "function": {"name": "f"}}]}), END, usage(8), DONE],
        [20],
        8,
    ),
    Case("no-usage", [HEAD, ROLE, TEXT, TEXT, END, DONE], [30, 40], 2, "events"),
    Case("null-usage-then-one", [HEAD, event({"content": "a"}, usage=None), END, usage(1), DONE], [20], 1),
    Case(
        "running-usage",
        [HEAD, event({"content": "a"}, usage={"completion_tokens": 1}), END, usage(2)],
        [20],
        2,
    ),
    Case("usage-without-done", [HEAD, TEXT, END, usage(1)], [20], 1),
    Case("done-alone", [HEAD, TEXT, DONE], [20], 1, "events"),
    Case("two-in-a-block", [HEAD, TEXT + TEXT, END + DONE], [20, 20], 2, "events"),
    Case("empty-reply", [HEAD, ROLE, END, usage(0), DONE], [], 0),
    Case(
        "other-fields", [HEAD, event({"content": "a", "refusal": None}, x={"y": 1}), END, usage(1)], [20], 1
    ),
]


def recorded(blocks: list[bytes], problem: str | None = None) -> Capture:
    times = [100 + 0.01 * (i + 1) for i in range(len(blocks))]
    return Capture(100.0, times, blocks, times[-1] if times else 100.5, problem)


@pytest.mark.parametrize("case", REPLIES, ids=lambda case: case.id)
def test_a_reply_becomes_a_sample(case: Case) -> None:
    sample = recorded(case.blocks).outcome()
    assert isinstance(sample, Sample)
    assert [round(at * 1e3) for at in sample.times_s] == case.times_ms
    assert (sample.n_tokens, sample.counted_by) == (case.n_tokens, case.counted_by)
    assert round(sample.total_s * 1e3) == 10 * len(case.blocks)
    assert not recorded(case.blocks).failed


def test_times_of_a_sample() -> None:
    sample = Sample((0.5, 0.6, 0.9), 1.0, 5, "usage")
    assert sample.first_s == 0.5
    assert sample.per_token_s == pytest.approx(0.1)
    assert sample.gaps_s == pytest.approx([0.1, 0.3])
    assert (Sample((), 1.0, 0, "usage").first_s, Sample((0.1,), 1.0, 1, "usage").per_token_s) == (None, None)


def refusal(status: int, body: bytes) -> list[bytes]:
    return [b"HTTP/1.1 %d No\r\nContent-Length: %d\r\n\r\n" % (status, len(body)), body]


def error(**fields: object) -> bytes:
    return json.dumps({"error": fields}).encode()


@pytest.mark.parametrize(
    ("blocks", "reason", "message"),
    [
        (refusal(503, error(message="Full.", code="engine_overloaded")), "503 engine_overloaded", "Full."),
        (refusal(500, error(message="Oh.", code=500, type="server_error")), "500 server_error", "Oh."),
        (refusal(404, b'{"error": "model not found"}'), "404", "model not found"),
        (refusal(422, b'{"detail": []}'), "422", '{"detail": []}'),
        (refusal(502, b"<html>\xff"), "502", "<html>\N{REPLACEMENT CHARACTER}"),
        (refusal(500, b""), "500", "status 500"),
        ([HEAD, TEXT, b"data: " + error(code="engine_error") + b"\n\n"], "stream: engine_error", None),
        ([HEAD, TEXT, b'data: {"error": "gone"}\n\n'], "stream: error", "gone"),
        ([HEAD, TEXT, TEXT[:20]], "cut off", "The response ended after 1 events."),
        ([HEAD[:-9]], "cut off", "The response ended after 0 events."),
        ([], "cut off", "The response ended after 0 events."),
        ([HEAD, b'{"choices": [{"message": {"content": "Hi"}}]}'], "not a stream", None),
        ([HEAD, b": comment\n\n"], "cut off", "The response ended after 0 events."),
        ([HEAD, b"data: {nonsense\n\n"], "not understood", None),
        ([HEAD, b'data: {"choices": 3}\n\n'], "not understood", None),
        ([b"220 smtp ready\r\n\r\n"], "not understood", None),
    ],
)  # fmt: skip
def test_what_is_no_reply_becomes_a_failure(blocks: list[bytes], reason: str, message: str | None) -> None:
    failure = recorded(blocks).outcome()
    assert isinstance(failure, Failure)
    assert failure.reason == reason
    assert message is None or failure.message == message


def test_a_problem_of_the_connection_is_the_reason() -> None:
    late = recorded([HEAD, TEXT], "deadline passed").outcome()
    assert isinstance(late, Failure)
    assert (late.reason, late.refused) == ("deadline passed", False)
    assert recorded([], "ECONNREFUSED").failed


@pytest.mark.parametrize(
    ("status", "refused"), [(400, True), (404, True), (501, True), (429, False), (503, False)]
)
def test_only_some_statuses_mean_never(status: int, refused: bool) -> None:
    recording = recorded(refusal(status, b"{}"))
    failure = recording.outcome()
    assert isinstance(failure, Failure)
    assert (failure.refused, recording.failed) == (refused, True)
