import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import examples

from tessera.core.generation import (
    EngineInfo,
    Grammar,
    Prompt,
    Sampling,
    ThinkingBudget,
    TokenChunk,
    TokenLogprob,
)
from tessera.engine.host.frames import (
    FROM_CLIENT,
    Abort,
    Failed,
    Frame,
    FrameReader,
    Hello,
    Ping,
    Start,
    Step,
    Submit,
    pack,
)
from tessera.processes.frames import MAX_FRAME_BYTES, FrameError

SERVED = EngineInfo("model", 2048, 49152, frozenset({2, 0}), frozenset({"n", "grammar"}), 4)
ANY: msgspec.msgpack.Decoder[Frame] = msgspec.msgpack.Decoder(Frame)
FRAMES: list[Frame] = [
    Start("package.module:core", SERVED, {"threads": 4, "gap_s": 0.2, "model_xml": "model.xml"}),
    Hello(SERVED, {"running": 0}),
    Submit(0, Prompt((1, 2)), Sampling(max_tokens=3)),
    Submit(
        2**40,
        Prompt(tuple(range(30_000, 70_000)), Grammar('start: "a"'), b"\x00salt\xff", 3),
        Sampling(
            9,
            frozenset({2}),
            temperature=0.5,
            top_p=0.9,
            top_k=20,
            min_p=0.1,
            presence_penalty=1.5,
            frequency_penalty=-1.0,
            repetition_penalty=1.1,
            logit_bias={7: -100.0},
            seed=-(2**63),
            n=4,
            top_logprobs=5,
            thinking_budget=ThinkingBudget(10, (4, 5), "</think>"),
        ),
    ),
    Abort(7),
    Ping(),
    Step([], [], {}),
    Step(
        [(1, TokenChunk(0, (5, 6), "stop", 32, (TokenLogprob(5, -0.5, ((5, -0.5), (6, -1.0))),)))],
        [Failed(2, "generation_failed", "broken")],
        {"running": 1, "waiting": 0},
    ),
]


@examples(40)
@given(cuts=st.lists(st.integers(0, 2**18), max_size=12), order=st.permutations(FRAMES))
def test_frames_survive_any_cutting(cuts: list[int], order: list[Frame]) -> None:
    stream = b"".join(map(pack, order))
    reader = FrameReader(ANY)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    got = [frame for start, end in itertools.pairwise(edges) for frame in reader.feed(stream[start:end])]
    assert got == order


def test_byte_by_byte() -> None:
    reader = FrameReader(ANY)
    got = [frame for byte in pack(FRAMES[-1]) for frame in reader.feed(bytes([byte]))]
    assert got == [FRAMES[-1]]


def test_prompt_tokens_are_compact() -> None:
    ids = tuple(range(40_000))
    assert len(pack(Submit(1, Prompt(ids), Sampling(1)))) < 3 * len(ids) + 1000


def test_a_frame_over_the_cap_is_refused_on_both_sides() -> None:
    with pytest.raises(FrameError, match="over the cap"):
        pack(Step([], [Failed(1, "generation_failed", "x" * MAX_FRAME_BYTES)], {}))
    with pytest.raises(FrameError, match="over the cap"):
        FrameReader(FROM_CLIENT).feed((MAX_FRAME_BYTES + 1).to_bytes(4, "big"))


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xc1", b"GET / HTTP/1.1", msgspec.msgpack.encode({"type": "Abort"}), pack(FRAMES[1])[4:]],
    ids=["empty", "invalid", "http", "incomplete", "unexpected"],
)
def test_what_is_not_an_expected_frame_is_refused(payload: bytes) -> None:
    reader = FrameReader(FROM_CLIENT)
    with pytest.raises(FrameError, match="cannot be read"):
        reader.feed(len(payload).to_bytes(4, "big") + payload)
