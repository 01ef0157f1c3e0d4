"""Seats, lanes and checkpoints over cells that are only noted, driven by the real scheduler's objects.

The forward pass here checks, before it writes, that a seat has exactly the tokens, and the state, that its
sequence has computed.
"""

from dataclasses import replace
from itertools import count

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.unit.engine.llamacpp.cells import NotedCells

from tessera.core.generation import EngineInfo, Prompt, Sampling, TokenChunk
from tessera.engine.batch.blocks import BLOCK_TOKENS, BlockPool
from tessera.engine.batch.core import BatchCore
from tessera.engine.batch.forward import Planned
from tessera.engine.batch.memory import Memory
from tessera.engine.batch.sequence import TokenSequence
from tessera.engine.batch.siblings import share_blocks
from tessera.engine.llamacpp.checkpoints import Checkpoints
from tessera.engine.llamacpp.lanes import Lanes
from tessera.engine.llamacpp.seats import Seats
from tessera.engine.scripted.engine import ScriptedTokenizer

VOCABULARY, N_SEATS = 300, 4
REQUESTS = count()
GREEDY = Sampling(20, temperature=0)


class Checking:
    """A `Forward` whose next token is a sum of what the seat holds."""

    block_bytes = 1
    vocabulary_size = VOCABULARY
    draft_cost = float("inf")

    def __init__(self, n_blocks: int, n_lanes: int, state_bytes: int | None) -> None:
        self.cells = NotedCells()
        first = N_SEATS + 1
        empty = None if state_bytes is None else N_SEATS
        lanes = Lanes(self.cells, range(first, first + n_lanes), empty) if n_lanes else None
        self.checkpoints = None if state_bytes is None else Checkpoints(self.cells, state_bytes)
        self.seats = Seats(self.cells, N_SEATS, lanes, self.checkpoints)
        self.pool = BlockPool(n_blocks, self.seats)
        self.n_computed = 0

    def compute(self, planned: Planned, memory: Memory) -> NDArray[np.float32]:
        rows: list[NDArray[np.float32]] = []
        for sequence, n_tokens in planned:
            seat = self.seats.enter(sequence)
            start, end = sequence.n_computed, sequence.n_computed + n_tokens
            self.n_computed += n_tokens
            known = dict(enumerate(sequence.tokens[:start]))
            assert self.cells.held[seat] == known
            if self.checkpoints:
                assert self.cells.states.get(seat, b"") == bytes(t % 256 for t in known.values())
                for cut in self.checkpoints.cuts(sequence, n_tokens):
                    self.cells.write(seat, sequence.tokens[start:cut], start)
                    self.seats.copy_state(sequence, cut)
                    start = cut
            self.cells.write(seat, sequence.tokens[start:end], start)
            self.seats.computed(sequence, n_tokens)
            if end == len(sequence.tokens):
                row = np.zeros(VOCABULARY, np.float32)
                row[sum(sequence.tokens) * 7 % 250] = 1
                rows.append(row)
        return np.stack(rows) if rows else np.zeros((0, VOCABULARY), np.float32)

    def share(self, first: TokenSequence, sibling: TokenSequence, pool: BlockPool) -> bool:
        if not share_blocks(first, sibling, pool, lambda source, target: None):
            return False
        self.seats.fork(first, sibling)
        return True

    def warm(self, memory: Memory) -> bool:
        return False


def made(
    n_blocks: int = 60, n_lanes: int = 8, state_bytes: int | None = None, step_tokens: int = 48
) -> tuple[BatchCore, Checking]:
    forward = Checking(n_blocks, n_lanes, state_bytes)
    served = EngineInfo("checking", 1024, VOCABULARY, frozenset({299}), max_sequences=N_SEATS)
    core = BatchCore(
        served, forward, ScriptedTokenizer(), step_tokens=step_tokens, step_gap_s=60, grammar_bytes=2**24
    )
    return core, forward


def ask(core: BatchCore, prompt: tuple[int, ...], sampling: Sampling = GREEDY, salt: bytes = b"") -> int:
    core.submit(request := next(REQUESTS), Prompt(prompt, cache_salt=salt), sampling)
    return request


def run(core: BatchCore, forward: Checking) -> dict[int, list[TokenChunk]]:
    chunks: dict[int, list[TokenChunk]] = {}
    while core.busy:
        for request, chunk in core.step():
            assert isinstance(chunk, TokenChunk), chunk
            chunks.setdefault(request, []).append(chunk)
    assert core.gauges()["blocks_used"] == 0
    assert not any(forward.cells.held[seat] for seat in range(N_SEATS + 1)), "a seat is not empty"
    return chunks


def following(prompt: tuple[int, ...], n_tokens: int) -> list[int]:
    tokens = [*prompt]
    for _ in range(n_tokens):
        tokens.append(sum(tokens) * 7 % 250)
    return tokens[len(prompt) :]


def said(chunks: list[TokenChunk]) -> list[int]:
    return [token for chunk in chunks for token in chunk.token_ids]


PROMPTS = [tuple((7 * i + j) % 250 for j in range(n)) for i, n in enumerate((5, 40, 70, 100, 64, 33))]
KINDS = pytest.mark.parametrize("state_bytes", [None, 10_000, 300], ids=["cells", "states", "few states"])


@KINDS
@pytest.mark.parametrize("n_blocks", [60, 8], ids=["room", "preempted"])
@pytest.mark.parametrize("step_tokens", [48, 7])
@pytest.mark.parametrize("n_lanes", [8, 1, 0])
def test_a_seat_always_has_what_its_sequence_has_computed(
    n_lanes: int, step_tokens: int, n_blocks: int, state_bytes: int | None
) -> None:
    core, forward = made(n_blocks, n_lanes, state_bytes, step_tokens)
    for _ in range(2):
        requests = {ask(core, prompt): prompt for prompt in (*PROMPTS, *PROMPTS[2:4], PROMPTS[3] + (1, 2))}
        chunks = run(core, forward)
        for request, prompt in requests.items():
            assert said(chunks[request]) == following(prompt, 20)


@KINDS
def test_siblings_start_from_one_prompt(state_bytes: int | None) -> None:
    core, forward = made(state_bytes=state_bytes)
    request = ask(core, PROMPTS[2], replace(GREEDY, n=3))
    chunks = run(core, forward)[request]
    for index in range(3):
        assert said([chunk for chunk in chunks if chunk.sequence == index]) == following(PROMPTS[2], 20)
    assert forward.n_computed < 70 + 3 * 20


def cached(core: BatchCore, forward: Checking, prompt: tuple[int, ...], salt: bytes = b"") -> int:
    request = ask(core, prompt, salt=salt)
    return run(core, forward)[request][0].cached_tokens


def test_with_states_the_next_turn_goes_on_near_the_end_of_the_prompt_or_within_the_reply() -> None:
    core, forward = made(state_bytes=100_000)
    prompt = tuple(range(150))
    assert cached(core, forward, prompt) == 0
    assert cached(core, forward, prompt, b"other") == 0
    assert cached(core, forward, prompt) == 128
    reply = tuple(following(prompt, 20))
    assert cached(core, forward, prompt + reply[:15] + (9,) * 40) == 160
    assert cached(core, forward, prompt[:130] + (8,) * 40) == 128


def test_with_states_what_two_prompts_have_in_common_is_computed_once_more_and_then_shared() -> None:
    core, forward = made(state_bytes=100_000)
    common = tuple(range(100))
    assert [cached(core, forward, common + (200 + i,) * 90) for i in range(4)] == [0, 0, 96, 96]


def test_states_that_are_too_many_go_least_recently_used_first() -> None:
    core, forward = made(state_bytes=2 * 64 + 10)
    prompts = [tuple(range(i, i + 85)) for i in (0, 10, 20)]
    short = replace(GREEDY, max_tokens=1)
    for prompt in (prompts[0], prompts[1], prompts[0], prompts[2]):
        ask(core, prompt, short)
        run(core, forward)
    found: list[int] = []
    for prompt in (prompts[2], prompts[0], prompts[1]):
        request = ask(core, prompt, short)
        found.append(run(core, forward)[request][0].cached_tokens)
    assert found == [64, 64, 0]


def test_where_all_lanes_are_taken_a_block_is_not_kept() -> None:
    core, forward = made(n_lanes=2)
    found = [cached(core, forward, (i,) * 40) for i in (1, 2, 3, 1, 2, 3)]
    assert found == [0, 0, 0, BLOCK_TOKENS, BLOCK_TOKENS, 0]
    assert core.gauges()["blocks_cached"] <= 4


@KINDS
def test_a_prefix_that_a_seeded_sequence_publishes_again_stays_for_those_that_hold_it(
    state_bytes: int | None,
) -> None:
    """A reply is computed token by token, so that its blocks are not reproducible. Those that the sequence
    with a seed computes replace them, while the other one holds them and has not taken their cells over yet.
    """
    core, forward = made(state_bytes=state_bytes, step_tokens=32)
    first = ask(core, (1,), replace(GREEDY, max_tokens=130))
    prompt = (1, *said(run(core, forward)[first]))
    seeded, other = (*prompt, 5), (*prompt, 6)
    requests = {ask(core, seeded, replace(GREEDY, seed=1)): seeded, ask(core, other): other}
    chunks = run(core, forward)
    for request, asked in requests.items():
        assert said(chunks[request]) == following(asked, 20)


def test_what_was_wrong_of_a_draft_is_removed_before_the_next_pass() -> None:
    core, forward = made()
    ask(core, PROMPTS[1])
    core.step()
    (sequence,) = forward.seats._seats
    seat = forward.seats.enter(sequence)
    forward.cells.write(seat, [8, 9], sequence.n_computed)
    forward.seats.computed(sequence, 2)
    forward.seats.trim()
    assert forward.cells.held[seat] == dict(enumerate(sequence.tokens[: sequence.n_computed]))
