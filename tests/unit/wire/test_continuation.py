import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import examples

from tessera.core.events import (
    ChatEvent,
    Completed,
    Finished,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from tessera.core.usage import Usage
from tessera.wire.continuation import Diverged, EventSplitter, Sent
from tessera.wire.reply import Header
from tessera.wire.stream import KEEP_ALIVE, ChunkWriter

REPLY = (
    ("reasoning", "It is a question of weather."),
    ("text", "Let me look — ¿qué tal? 🌤\n\ndata: no frame"),
    ("call", '{"city": "Lima"}'),
    ("call", '{"city": "Quito"}'),
)
MOST = 2**20


def divided(text: str, sizes: Sequence[int]) -> list[str]:
    parts: list[str] = []
    for size in sizes:
        parts.append(text[:size])
        text = text[size:]
    return [part for part in (*parts, text) if part]


def stream(sizes: Sequence[int], call_ids: str = "a", choices: int = 2, change: str = "") -> list[bytes]:
    """The frames of a reply whose texts are divided into parts of these sizes."""
    writer = ChunkWriter(Header("chatcmpl-1", 7, "mine"), lambda _: b"", include_usage=True)
    events: list[ChatEvent] = []
    for choice in range(choices):
        n_calls = 0
        for kind, text in REPLY:
            parts = divided(text + change, sizes)
            if kind == "call":
                events.append(ToolCallStarted(choice, n_calls, f"call_{call_ids}{n_calls}", "weather"))
                events += [ToolCallDelta(choice, n_calls, part) for part in parts]
                n_calls += 1
            else:
                made = ReasoningDelta if kind == "reasoning" else TextDelta
                events += [made(choice, part) for part in parts]
        events.append(Finished(choice, FinishReason.TOOL_CALLS))
    events.append(Completed(Usage(1, 0, 2, 0)))
    frames = b"".join(writer.write([event]) for event in events)
    return [frame + b"\n\n" for frame in frames.split(b"\n\n")[:-1]]


def folded(frames: bytes) -> object:
    """What a client makes of a stream: texts added up, and what comes once, which must come once."""
    choices: dict[int, dict[str, str]] = {}
    once: list[object] = []
    for block in frames.split(b"\n\n"):
        lines = [line for line in block.split(b"\n") if line and not line.startswith(b":")]
        for line in lines:
            assert line.startswith(b"data: ")
            if line == b"data: [DONE]":
                once.append("done")
                continue
            frame = json.loads(line[6:])
            if frame["usage"]:
                once.append(frame["usage"])
            for choice in frame["choices"]:
                texts = choices.setdefault(choice["index"], {})
                once += add(choice, texts)
    return choices, sorted(once, key=str)


def add(choice: dict[str, Any], texts: dict[str, str]) -> list[object]:
    """Adds a chunk's texts; what it has beside them."""
    delta, once = choice["delta"], list[object]()
    for name in ("role", "content", "reasoning_content", "reasoning"):
        if delta.get(name):
            texts[name] = texts.get(name, "") + delta[name]
    for call in delta.get("tool_calls", ()):
        key = f"call {call['index']}"
        if "id" in call:
            assert key not in texts
            once.append((choice["index"], call["index"], call["function"]["name"]))
        texts[key] = texts.get(key, "") + call["function"]["arguments"]
    if choice["finish_reason"]:
        once.append((choice["index"], choice["finish_reason"]))
    return once


sizes = st.lists(st.integers(1, 9), max_size=12)


@given(sizes, sizes, st.integers(0, 80), st.integers(0, 80))
@examples(100)
def test_a_stream_that_is_cut_twice_is_the_same_for_the_client(
    first: list[int], second: list[int], cut: int, later: int
) -> None:
    whole = b"".join(stream(first))
    sent = Sent(MOST)
    got = b"".join(stream(first)[:cut])
    sent.add(got)
    for frames in (stream(second, "b")[:later], stream(first, "c")):
        if got.endswith(b"[DONE]\n\n"):
            break
        going_on = sent.continuation()
        assert going_on is not None
        for frame in frames:
            more = going_on.feed(frame)
            sent.add(more)
            got += more
    assert folded(got) == folded(whole)


def test_another_text_is_refused() -> None:
    sent = Sent(MOST)
    sent.add(b"".join(stream([4], change="!")[:-2]))
    going_on = sent.continuation()
    assert going_on is not None
    with pytest.raises(Diverged):
        going_on.feed(b"".join(stream([4])))


def test_of_a_long_stream_nothing_is_kept() -> None:
    sent = Sent(10)
    sent.add(b"data: {}\n\n")
    assert sent.continuation() is not None
    sent.add(b"d")
    assert sent.continuation() is None


@given(st.lists(st.integers(1, 40), max_size=60))
@examples(100)
def test_only_whole_frames_and_comments_pass(lengths: list[int]) -> None:
    data = KEEP_ALIVE.join(stream([3]))
    splitter = EventSplitter()
    passed = b""
    at = 0
    for length in (*lengths, len(data)):
        more = splitter.feed(data[at : at + length])
        at += length
        passed += more
        assert not passed or passed.endswith((b"\n\n", KEEP_ALIVE))
    assert passed == data
