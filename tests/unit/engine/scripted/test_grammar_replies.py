"""The scripted engine obeys grammars if it is given `GrammarReplies`."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tessera.core.generation import Grammar, Prompt, Sampling, ThinkingBudget, TokenChunk
from tessera.engine.scripted import grammar_replies
from tessera.engine.scripted.engine import (
    SENTENCE,
    ScriptedEngine,
    ScriptedTokenizer,
    at_once,
    cycling,
    paced,
    saying,
    thinking_first,
)
from tessera.engine.scripted.grammar_replies import GrammarReplies
from tessera.errors import EngineUnavailable, GrammarFailed
from tessera.parsing.syntax import Tags

pytestmark = pytest.mark.anyio

TOKENIZER = ScriptedTokenizer()
TAGS = Tags("<think>", "</think>")
STOP = frozenset({TOKENIZER.control_tokens["<|im_end|>"]})
SCHEMA = {"type": "object", "properties": {"a": {"enum": ["long", "b"]}}, "required": ["a"]}
JSON = Grammar(f"start: %json {json.dumps(SCHEMA)}\n")
THINKING = Grammar('start: text "\\n\\n" "{" "}"\ntext[suffix="</think>"]: /(?s:.*)/\n')
TEXT_OR_CALL = Grammar('start: TEXT | "<call>"\nTEXT: /[^<]*/\n')


@pytest.fixture
async def replies() -> AsyncIterator[GrammarReplies]:
    replies = GrammarReplies(TOKENIZER)
    yield replies
    await replies.aclose()


async def play(
    engine: ScriptedEngine, grammar: Grammar, asked: str = "", **sampling: Any
) -> list[TokenChunk]:
    prompt = Prompt(tuple(TOKENIZER.encode(asked)), grammar)
    asked_of = Sampling(**{"max_tokens": 200, "stop_token_ids": STOP, **sampling})
    return [chunk async for chunk in engine.generate(prompt, asked_of)]


def text(chunks: list[TokenChunk], sequence: int = 0) -> str:
    ids = [id for chunk in chunks if chunk.sequence == sequence for id in chunk.token_ids]
    return b"".join(map(TOKENIZER.token_bytes, ids)).decode()


async def test_a_script_that_does_not_fit_gives_way_to_the_shortest_reply(replies: GrammarReplies) -> None:
    engine = ScriptedEngine(TOKENIZER, replies=replies)
    assert "grammar" in engine.info.features
    chunks = await play(engine, JSON, n=2, top_logprobs=1)
    assert [text(chunks, i) for i in (0, 1)] == ['{"a":"b"}'] * 2
    assert [chunk.finish for chunk in chunks][-2:] == ["stop", "stop"]
    assert all(len(chunk.logprobs) == len(chunk.token_ids) for chunk in chunks)


async def test_a_script_that_fits_is_played(replies: GrammarReplies) -> None:
    engine = ScriptedEngine(TOKENIZER, cycling(TOKENIZER, n_tokens=30), replies=replies)
    assert text(await play(engine, TEXT_OR_CALL)).startswith(SENTENCE)
    assert len(text(await play(engine, TEXT_OR_CALL, max_tokens=3))) == len("the little lamp ")
    engine.script = saying(TOKENIZER, '{"a":"long"}')
    assert text(await play(engine, JSON)) == '{"a":"long"}'


async def test_an_endless_script_is_cut(replies: GrammarReplies) -> None:
    engine = ScriptedEngine(TOKENIZER, cycling(TOKENIZER, n_tokens=10**12), replies=replies)
    chunks = await play(engine, TEXT_OR_CALL, max_tokens=5000)
    assert (sum(len(chunk.token_ids) for chunk in chunks), chunks[-1].finish) == (5000, "length")


async def test_a_reply_is_cut_at_max_tokens(replies: GrammarReplies) -> None:
    chunks = await play(ScriptedEngine(TOKENIZER, replies=replies), JSON, max_tokens=4)
    assert (text(chunks), chunks[-1].finish) == ('{"a"', "length")


@pytest.mark.parametrize("n_tokens", [None, 100, 15, 3, 0])
async def test_reasoning_comes_before_the_shortest_reply(
    replies: GrammarReplies, n_tokens: int | None
) -> None:
    script = thinking_first(TOKENIZER, cycling(TOKENIZER), TAGS)
    engine = ScriptedEngine(TOKENIZER, script, replies=replies)
    closing = tuple(TOKENIZER.encode("\n</think>\n\n"))
    budget = None if n_tokens is None else ThinkingBudget(n_tokens, closing, "</think>")
    said = text(await play(engine, THINKING, asked="<think>\n", thinking_budget=budget))
    reasoning = "".join(SENTENCE.split(" ")) if n_tokens is None else ""
    assert said.endswith("\n</think>\n\n{}")
    assert said.count("</think>") == 1
    assert said.replace(" ", "").startswith(reasoning)


async def test_without_the_opening_tag_there_is_no_reasoning() -> None:
    engine = ScriptedEngine(TOKENIZER, thinking_first(TOKENIZER, saying(TOKENIZER, "Hi"), TAGS))
    asked = Sampling(max_tokens=9, stop_token_ids=STOP)
    chunks = [chunk async for chunk in engine.generate(Prompt((1, 2)), asked)]
    assert text(chunks) == "Hi<|im_end|>"


async def test_a_grammar_is_searched_once(replies: GrammarReplies, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ScriptedEngine(TOKENIZER, replies=replies)
    same = await asyncio.gather(*(play(engine, JSON) for _ in range(3)))
    assert len({text(chunks) for chunks in same}) == 1
    monkeypatch.setattr(replies, "_pool", None)  # a second search would fail
    assert text(await play(engine, JSON, max_tokens=100)) == '{"a":"b"}'


async def test_the_oldest_replies_are_forgotten(
    replies: GrammarReplies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grammar_replies, "KEPT_TOKENS", 10)
    for i in range(20):
        grammar = Grammar(f'start: "{i:05}"\n')
        assert [*await replies.follow(grammar, [], whole=True)] == TOKENIZER.encode(f"{i:05}")
    assert len(replies._kept) <= 2


async def test_a_grammar_without_a_reply_fails_that_generation_alone(replies: GrammarReplies) -> None:
    engine = ScriptedEngine(TOKENIZER, replies=replies)
    with pytest.raises(GrammarFailed):
        await play(engine, Grammar("start: missing\n"))
    assert (engine.n_running, engine.n_finished) == (0, 0)
    assert text(await play(engine, JSON)) == '{"a":"b"}'


async def test_a_closed_engine_searches_nothing(replies: GrammarReplies) -> None:
    engine = ScriptedEngine(TOKENIZER, replies=replies)
    await engine.aclose()
    with pytest.raises(EngineUnavailable):
        await play(engine, JSON)


async def test_without_replies_a_script_is_played_as_it_is() -> None:
    engine = ScriptedEngine(TOKENIZER, saying(TOKENIZER, "no JSON"))
    assert "grammar" not in engine.info.features
    assert text(await play(engine, JSON)) == "no JSON<|im_end|>"


async def test_a_pace_of_0_sleeps_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    sleep = asyncio.sleep

    async def noting(delay: float) -> None:
        slept.append(delay)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", noting)
    for timing in (paced(0), at_once):
        engine = ScriptedEngine(TOKENIZER, timing=timing)
        await play(engine, Grammar("start: unused\n"), max_tokens=50)
    assert set(slept) == {0}
