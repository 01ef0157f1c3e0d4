"""`BatchCore` over a model of a few lines, whose cache is real: what it says depends on all tokens before."""

import hashlib

import numpy as np
import pytest
from numpy.typing import NDArray

from tessera.core.generation import EngineInfo, Prompt, Sampling, TokenChunk
from tessera.engine.batch.blocks import BLOCK_TOKENS, BlockPool
from tessera.engine.batch.core import BatchCore
from tessera.engine.batch.forward import Planned, SequencesFailed
from tessera.engine.batch.memory import Memory
from tessera.engine.batch.sequence import TokenSequence
from tessera.engine.batch.siblings import share_blocks
from tessera.engine.scripted.engine import ScriptedTokenizer
from tessera.errors import ContextLengthExceeded, TesseraError

VOCABULARY = 300
WORDS = [tuple((7 * i + j) % 250 for j in range(n)) for i, n in enumerate((5, 40, 70, 100))]


class Hashing:
    """A `Forward` that caches a token as itself, and whose next token is a hash of all that is cached."""

    block_bytes = 1
    vocabulary_size = VOCABULARY
    draft_cost = 1.5

    def __init__(self, n_blocks: int) -> None:
        self.pool = BlockPool(n_blocks)
        self.n_computed = 0
        self._cache = np.full((n_blocks, BLOCK_TOKENS), -1)
        self._cold = 2

    def compute(self, planned: Planned, memory: Memory) -> NDArray[np.float32]:
        rows: list[NDArray[np.float32]] = []
        for sequence, n_tokens in planned:
            start = sequence.n_computed
            self.n_computed += n_tokens
            written = sequence.tokens[start : start + n_tokens] + sequence.draft
            for position, token in enumerate(written, start):
                self._cache[sequence.blocks[position // BLOCK_TOKENS], position % BLOCK_TOKENS] = token
            if start + n_tokens == len(sequence.tokens):
                ends = range(start + n_tokens, start + len(written) + 1)
                rows += [self._row(sequence.blocks, end) for end in ends]
        return np.stack(rows) if rows else np.zeros((0, VOCABULARY), np.float32)

    def share(self, first: TokenSequence, sibling: TokenSequence, pool: BlockPool) -> bool:
        def copy(source: int, target: int) -> None:
            self._cache[target] = self._cache[source]

        return share_blocks(first, sibling, pool, copy)

    def warm(self, memory: Memory) -> bool:
        self._cold -= 1
        return self._cold > 0

    def _row(self, blocks: list[int], n_tokens: int) -> NDArray[np.float32]:
        row = np.zeros(VOCABULARY, np.float32)
        row[following(self._cache[blocks].reshape(-1)[:n_tokens].tolist())] = 1
        return row


def following(tokens: list[int]) -> int:
    return hashlib.sha256(repr(tokens).encode()).digest()[0]


def expected(prompt: tuple[int, ...], n_tokens: int) -> list[int]:
    tokens = [*prompt]
    for _ in range(n_tokens):
        tokens.append(following(tokens))
    return tokens[len(prompt) :]


def core(n_blocks: int, step_tokens: int = 48) -> tuple[BatchCore, Hashing]:
    forward = Hashing(n_blocks)
    served = EngineInfo("hashing", 256, VOCABULARY, frozenset({299}), max_sequences=4)
    made = BatchCore(
        served, forward, ScriptedTokenizer(), step_tokens=step_tokens, step_gap_s=60, grammar_bytes=2**24
    )
    return made, forward


def run(core: BatchCore) -> dict[tuple[int, int], list[int]]:
    """Steps to the end; returns the tokens of each sequence, by request and index."""
    said: dict[tuple[int, int], list[int]] = {}
    while core.busy:
        for request, output in core.step():
            assert isinstance(output, TokenChunk), output
            said.setdefault((request, output.sequence), []).extend(output.token_ids)
    assert core.gauges()["blocks_used"] == 0
    return said


@pytest.mark.parametrize("n_blocks", [40, 7], ids=["room", "preempted"])
@pytest.mark.parametrize("step_tokens", [48, 5])
def test_sequences_say_what_they_would_alone(n_blocks: int, step_tokens: int) -> None:
    made, _ = core(n_blocks, step_tokens)
    for request, prompt in enumerate(WORDS):
        made.submit(request, Prompt(prompt), Sampling(30, temperature=0))
    assert run(made) == {(request, 0): expected(prompt, 30) for request, prompt in enumerate(WORDS)}


def test_siblings_start_from_one_prompt_and_prefixes_are_shared_within_an_account() -> None:
    made, forward = core(40)
    prompt = WORDS[2]
    made.submit(0, Prompt(prompt, cache_salt=b"a"), Sampling(9, temperature=0, n=3))
    assert run(made) == {(0, index): expected(prompt, 9) for index in range(3)}
    assert forward.n_computed < len(prompt) + 3 * 9
    for request, (salt, n_again) in enumerate(((b"a", len(prompt) % BLOCK_TOKENS), (b"b", len(prompt))), 1):
        before = forward.n_computed
        made.submit(request, Prompt(prompt, cache_salt=salt), Sampling(1, temperature=0))
        assert run(made) == {(request, 0): expected(prompt, 1)}
        assert forward.n_computed - before == n_again


def test_what_is_aborted_says_no_more_and_idle_time_is_used_until_all_is_warm() -> None:
    made, forward = core(40)
    made.submit(0, Prompt(WORDS[0]), Sampling(30, temperature=0))
    made.step()
    made.abort(0)
    assert run(made) == {}
    assert forward._cold == 0
    assert not made.busy


def test_a_prompt_without_room_is_refused_for_good() -> None:
    made, _ = core(2)
    assert made.info.context_tokens == 2 * BLOCK_TOKENS
    with pytest.raises(TesseraError) as refused:
        made.submit(0, Prompt(tuple(range(64))), Sampling(1))
    assert isinstance(refused.value, ContextLengthExceeded)
    assert not refused.value.retryable


class Refusing(Hashing):
    """Refuses the sequences of some requests."""

    refused: frozenset[int] = frozenset()

    def compute(self, planned: Planned, memory: Memory) -> NDArray[np.float32]:
        failed = [sequence for sequence, _ in planned if sequence.request in self.refused]
        logits = super().compute([each for each in planned if each[0] not in failed], memory)
        if failed:
            raise SequencesFailed(failed, logits, "no room")
        return logits


@pytest.mark.parametrize("n", [1, 3])
def test_a_sequence_that_a_pass_refuses_ends_its_request_alone(n: int) -> None:
    forward = Refusing(60)
    served = EngineInfo("refusing", 256, VOCABULARY, frozenset({299}), max_sequences=4)
    core = BatchCore(served, forward, ScriptedTokenizer(), step_tokens=48, step_gap_s=60, grammar_bytes=2**24)
    for request, prompt in enumerate(WORDS[:3]):
        core.submit(request, Prompt(prompt), Sampling(8, temperature=0, n=n if request == 1 else 1))
    said: dict[int, list[int]] = {}
    failures: dict[int, TesseraError] = {}
    for step in range(200):
        forward.refused = frozenset({1}) if step > 2 else frozenset()
        for request, output in core.step():
            if isinstance(output, TokenChunk):
                said.setdefault(request, []).extend(output.token_ids)
            else:
                failures[request] = output
    assert [*failures] == [1]
    assert "no room" in failures[1].message
    assert (said[0], said[2]) == (expected(WORDS[0], 8), expected(WORDS[2], 8))
    assert core.gauges()["blocks_used"] == 0
