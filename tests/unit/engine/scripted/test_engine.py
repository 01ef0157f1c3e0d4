import math
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import examples

from tessera.core.generation import Prompt, Sampling, ThinkingBudget, TokenChunk
from tessera.engine.base import Engine
from tessera.engine.scripted.engine import (
    ScriptedEngine,
    ScriptedTokenizer,
    cycling,
    echo,
    failing,
    saying,
)
from tessera.errors import EngineUnavailable, GenerationFailed

pytestmark = pytest.mark.anyio

TOKENIZER = ScriptedTokenizer()
END = TOKENIZER.control_tokens["<|im_end|>"]
HELLO = Prompt(tuple(TOKENIZER.encode("Hello")))


async def play(engine: Engine, sampling: Sampling, prompt: Prompt = HELLO) -> list[TokenChunk]:
    return [chunk async for chunk in engine.generate(prompt, sampling)]


def ids(chunks: list[TokenChunk], sequence: int = 0) -> list[int]:
    return [id for chunk in chunks if chunk.sequence == sequence for id in chunk.token_ids]


def text(chunks: list[TokenChunk], sequence: int = 0) -> str:
    return b"".join(TOKENIZER.token_bytes(id) for id in ids(chunks, sequence)).decode()


@given(st.text())
@examples(200)
def test_tokenizer_spells_back_what_it_encoded_and_never_yields_a_control_token(string: str) -> None:
    encoded = TOKENIZER.encode(string)
    assert b"".join(map(TOKENIZER.token_bytes, encoded)) == string.encode()
    assert not set(encoded) & set(TOKENIZER.control_tokens.values())


def test_tokenizer_keeps_control_token_text_ordinary() -> None:
    assert END not in TOKENIZER.encode("<|im_end|>")
    assert TOKENIZER.token_bytes(END) == b"<|im_end|>"
    assert TOKENIZER.token_bytes(10**6) == TOKENIZER.token_bytes(-1) == b""
    assert max(TOKENIZER.control_tokens.values()) == TOKENIZER.vocabulary_size - 1


def test_tokenizer_makes_one_token_of_a_word() -> None:
    assert len(TOKENIZER.encode("the little lamp ")) == 3


async def test_saying_ends_with_the_stop_token() -> None:
    engine = ScriptedEngine(TOKENIZER, saying(TOKENIZER, "Hi"))
    chunks = await play(engine, Sampling(max_tokens=10, stop_token_ids=frozenset({END})))
    assert text(chunks) == "Hi<|im_end|>"
    assert [chunk.finish for chunk in chunks] == [None, None, "stop"]
    assert (engine.n_running, engine.n_finished, engine.n_aborted) == (0, 1, 0)


async def test_nothing_follows_a_stop_token() -> None:
    engine = ScriptedEngine(TOKENIZER, saying(TOKENIZER, "a<|im_end|>b"))
    assert text(await play(engine, Sampling(max_tokens=9, stop_token_ids=frozenset({END})))) == "a<|im_end|>"


async def test_max_tokens_ends_with_length() -> None:
    chunks = await play(ScriptedEngine(TOKENIZER), Sampling(max_tokens=3))
    assert text(chunks) == "the little lamp "
    assert chunks[-1].finish == "length"


async def test_an_exhausted_script_stops_without_a_token() -> None:
    chunks = await play(ScriptedEngine(TOKENIZER, echo), Sampling(max_tokens=99))
    assert text(chunks) == "Hello"
    assert chunks[-1] == TokenChunk(0, (), "stop")


async def test_several_tokens_per_chunk() -> None:
    engine = ScriptedEngine(TOKENIZER, saying(TOKENIZER, "abcde"), tokens_per_chunk=4)
    chunks = await play(engine, Sampling(max_tokens=99, stop_token_ids=frozenset({END})))
    assert [len(chunk.token_ids) for chunk in chunks] == [4, 2]


async def test_sequences_take_turns_and_each_finishes_once() -> None:
    def script(prompt: Prompt, sequence: int) -> bytes:
        return b"xyz"[sequence:]

    chunks = await play(ScriptedEngine(TOKENIZER, script), Sampling(max_tokens=99, n=2))
    assert [chunk.sequence for chunk in chunks] == [0, 1, 0, 1, 0, 1, 0]
    assert (text(chunks, 0), text(chunks, 1)) == ("xyz", "yz")
    assert [chunk.sequence for chunk in chunks if chunk.finish] == [1, 0]


async def test_closing_aborts() -> None:
    engine = ScriptedEngine(TOKENIZER)
    async with aclosing(engine.generate(HELLO, Sampling(max_tokens=99))) as chunks:
        await anext(chunks)
        assert engine.n_running == 1
    assert (engine.n_running, engine.n_finished, engine.n_aborted) == (0, 0, 1)


async def test_closing_after_the_last_chunk_aborts_nothing() -> None:
    engine = ScriptedEngine(TOKENIZER)
    async with aclosing(engine.generate(HELLO, Sampling(max_tokens=1))) as chunks:
        assert (await anext(chunks)).finish == "length"
    assert (engine.n_running, engine.n_finished, engine.n_aborted) == (0, 1, 0)


async def test_a_script_may_fail_at_a_token() -> None:
    engine = ScriptedEngine(TOKENIZER, failing(cycling(TOKENIZER), GenerationFailed("boom"), after=2))
    chunks = engine.generate(HELLO, Sampling(max_tokens=99))
    assert text([await anext(chunks), await anext(chunks)]) == "the little "
    with pytest.raises(GenerationFailed, match="boom"):
        await anext(chunks)
    assert (engine.n_running, engine.n_finished, engine.n_aborted) == (0, 0, 0)


async def test_a_closed_engine_is_unavailable() -> None:
    engine = ScriptedEngine(TOKENIZER)
    assert engine.unready() is None
    running = engine.generate(HELLO, Sampling(max_tokens=99))
    await anext(running)
    await engine.aclose()
    await engine.aclose()
    assert engine.unready() == "engine_closed"
    with pytest.raises(EngineUnavailable):
        await anext(running)
    with pytest.raises(EngineUnavailable):
        await play(engine, Sampling(max_tokens=1))


async def test_logprobs_are_those_of_certainty() -> None:
    chunks = await play(ScriptedEngine(TOKENIZER, echo), Sampling(max_tokens=1, top_logprobs=3))
    (logprob,) = chunks[0].logprobs
    assert (logprob.token_id, logprob.logprob) == (ord("H"), 0.0)
    assert [id for id, _ in logprob.top] == [ord("H"), 0, 1]
    assert math.isclose(sum(math.exp(value) for _, value in logprob.top), 1.0)


@pytest.mark.parametrize(
    ("spoken", "n_tokens", "heard"),
    [
        ("hm</think>yes", 9, "hm</think>yes"),
        ("hm</think>yes", 2, "hm</think>yes"),
        ("hmmmm</think>yes", 2, "hm!</think>yes"),
        ("hmmmm", 2, "hm!</think>"),
        ("hm</think>yes", 0, "!</think>yes"),
    ],
)
async def test_reasoning_is_closed_at_the_budget(spoken: str, n_tokens: int, heard: str) -> None:
    tokenizer = ScriptedTokenizer((), ("<think>", "</think>", "<|im_end|>"))
    end = tokenizer.control_tokens["</think>"]
    engine = ScriptedEngine(tokenizer, saying(tokenizer, spoken))
    budget = ThinkingBudget(n_tokens, (ord("!"), end), end)
    stop = frozenset({tokenizer.control_tokens["<|im_end|>"]})
    chunks = await play(engine, Sampling(max_tokens=99, stop_token_ids=stop, thinking_budget=budget))
    played = b"".join(tokenizer.token_bytes(id) for id in ids(chunks)).decode()
    assert played.removesuffix("<|im_end|>") == heard
