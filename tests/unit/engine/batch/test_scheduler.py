"""Random loads on small pools: every token is computed, in order, into blocks that nobody else writes."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import examples

from tessera.core.generation import Sampling
from tessera.engine.batch.blocks import BLOCK_TOKENS, BlockPool
from tessera.engine.batch.sampling import Sampler
from tessera.engine.batch.scheduler import Scheduler
from tessera.engine.batch.sequence import TokenSequence

N_BLOCKS = 8
STEP_TOKENS = 48
MAX_SEQUENCES = 4


def make(
    request: int, prompt: list[int], *, priority: int = 0, salt: bytes = b"", max_tokens: int = 8
) -> TokenSequence:
    sampling = Sampling(max_tokens)
    sampler = Sampler(sampling, 0, prompt, 100)
    return TokenSequence(
        request, 0, list(prompt), len(prompt), salt, (-priority, request, 0), sampling, sampler, lambda _: b""
    )


@dataclass
class Cache:
    """What kernels would write: for each slot of a block, its token with all tokens before it. Drafts are
    written too, and must not count if they are wrong.
    """

    slots: dict[tuple[int, int], tuple[int, ...]] = field(default_factory=dict)

    def write(self, sequence: TokenSequence, count: int) -> None:
        tokens = sequence.tokens + sequence.draft
        for position in range(sequence.n_computed, sequence.n_computed + count + len(sequence.draft)):
            slot = sequence.blocks[position // BLOCK_TOKENS], position % BLOCK_TOKENS
            self.slots[slot] = tuple(tokens[: position + 1])

    def check(self, sequence: TokenSequence) -> None:
        for position in range(sequence.n_computed):
            slot = sequence.blocks[position // BLOCK_TOKENS], position % BLOCK_TOKENS
            assert self.slots[slot] == tuple(sequence.tokens[: position + 1])


def extend(sequence: TokenSequence, pool: BlockPool) -> None:
    """Extends by the tokens of a model that repeats itself with occasional slips, and by drafts
    that agree.
    """
    for guess in (*sequence.draft, None):
        length = len(sequence.tokens)
        sequence.tokens.append(length % 11 if length % 25 else 50)
        if sequence.tokens[-1] != guess or not sequence.n_left:
            break
        sequence.advance(1, pool)
    sequence.look_up(1.5)


def run_step(scheduler: Scheduler, cache: Cache) -> list[TokenSequence]:
    """Computes one plan; returns the sequences that are done."""
    planned = scheduler.plan()
    prefill = sum(count for sequence, count in planned if sequence.n_pending > 1)
    assert prefill <= STEP_TOKENS
    assert len({id(sequence) for sequence, _ in planned}) == len(planned)
    done: list[TokenSequence] = []
    for sequence, count in planned:
        assert sequence.n_missing_blocks(sequence.n_computed + count) <= 0
        cache.write(sequence, count)
    for sequence, count in planned:
        sequence.advance(count, scheduler.pool)
        cache.check(sequence)
        if not sequence.n_pending:
            extend(sequence, scheduler.pool)
            cache.check(sequence)
            if sequence.n_output == sequence.sampling.max_tokens:
                done.append(sequence)
    assert planned or not (scheduler.running or scheduler.waiting), "work waits and nothing moves"
    return done


ARRIVALS = st.tuples(
    st.integers(0, 3),  # steps before it arrives
    st.integers(1, 150),  # prompt tokens
    st.sampled_from([1, 2]),  # alphabet: prompts share prefixes
    st.integers(0, 2),  # priority
    st.sampled_from([b"", b"other"]),
    st.integers(1, 60),  # output tokens
    st.one_of(st.none(), st.integers(0, 20)),  # aborted after as many steps
)


@examples(80)
@given(st.lists(ARRIVALS, max_size=10))
def test_every_sequence_is_served_exactly(
    arrivals: list[tuple[int, int, int, int, bytes, int, int | None]],
) -> None:
    pool, cache = BlockPool(N_BLOCKS), Cache()
    scheduler = Scheduler(pool, max_sequences=MAX_SEQUENCES, step_tokens=STEP_TOKENS)
    alive: dict[TokenSequence, int | None] = {}
    queue = list(enumerate(arrivals))
    finished = aborted = 0
    for _ in range(5_000):
        for request, (_, length, alphabet, priority, salt, output, abort) in [
            q for q in queue if not q[1][0]
        ]:
            prompt = [position % alphabet for position in range(length)]
            sequence = make(request, prompt, priority=priority, salt=salt, max_tokens=output)
            alive[sequence] = abort
            scheduler.add(sequence)
        queue = [(request, (given[0] - 1, *given[1:])) for request, given in queue if given[0]]
        for sequence in run_step(scheduler, cache):
            scheduler.remove(sequence)
            del alive[sequence]
            finished += 1
        for sequence, abort in list(alive.items()):
            if abort == 0:
                scheduler.remove(sequence)
                del alive[sequence]
                aborted += 1
            else:
                alive[sequence] = None if abort is None else abort - 1
        assert len(scheduler.running) <= MAX_SEQUENCES
        if not queue and not alive:
            break
    assert finished + aborted == len(arrivals)
    assert pool.n_held == 0


def test_decoding_goes_on_while_a_long_prompt_is_computed() -> None:
    scheduler, cache = Scheduler(BlockPool(N_BLOCKS), max_sequences=4, step_tokens=STEP_TOKENS), Cache()
    short = make(0, [1] * 4, max_tokens=50)
    scheduler.add(short)
    run_step(scheduler, cache)
    scheduler.add(make(1, [2] * 150))
    for made in range(2, 5):
        run_step(scheduler, cache)
        assert short.n_output == made


def test_higher_priority_starts_first_and_equal_ones_in_order_of_arrival() -> None:
    scheduler = Scheduler(BlockPool(N_BLOCKS), max_sequences=1, step_tokens=STEP_TOKENS)
    sequences = [make(0, [1]), make(1, [1]), make(2, [1], priority=5)]
    for sequence in sequences:
        scheduler.add(sequence)
    assert [sequence.request for sequence, _ in scheduler.plan()] == [2]
    scheduler.remove(sequences[2])
    assert [sequence.request for sequence, _ in scheduler.plan()] == [0]


def test_lowest_ranking_sequence_is_preempted_and_finishes_later() -> None:
    scheduler, cache = Scheduler(BlockPool(3), max_sequences=4, step_tokens=STEP_TOKENS), Cache()
    first, second = make(0, [1] * 40, max_tokens=40), make(1, [2] * 20, max_tokens=40)
    scheduler.add(first)
    scheduler.add(second)
    order: list[int] = []
    for _ in range(300):
        for sequence in run_step(scheduler, cache):
            scheduler.remove(sequence)
            order.append(sequence.request)
    assert order == [0, 1]
    assert second.preempted
    assert not first.preempted


@pytest.mark.parametrize(("salt", "expected"), [(b"", 64), (b"other", 0)])
def test_prefix_is_reused_under_the_same_salt_only(salt: bytes, expected: int) -> None:
    scheduler, cache = Scheduler(BlockPool(N_BLOCKS), max_sequences=4, step_tokens=STEP_TOKENS), Cache()
    first, second = make(0, [3] * 70, max_tokens=1), make(1, [3] * 70, salt=salt, max_tokens=1)
    for sequence in (first, second):
        scheduler.add(sequence)
        while not (done := run_step(scheduler, cache)):
            pass
        scheduler.remove(done[0])
    assert (first.n_cached, second.n_cached) == (0, expected)


def test_prompts_that_arrive_together_compute_their_common_prefix_once() -> None:
    scheduler, cache = Scheduler(BlockPool(N_BLOCKS), max_sequences=4, step_tokens=32), Cache()
    sequences = [make(request, [3] * 96, max_tokens=2) for request in range(2)]
    for sequence in sequences:
        scheduler.add(sequence)
    while any(sequence.n_output == 0 for sequence in sequences):
        for sequence in scheduler.plan():
            cache.write(*sequence)
            sequence[0].advance(sequence[1], scheduler.pool)
            if not sequence[0].n_pending:
                sequence[0].tokens.append(1)
    assert [sequence.n_cached for sequence in sequences] == [0, 64]


def test_cached_tokens_are_counted_once_when_a_prompt_has_to_wait() -> None:
    scheduler, cache = Scheduler(BlockPool(5), max_sequences=4, step_tokens=STEP_TOKENS), Cache()
    first = make(0, [3] * 70, max_tokens=1)
    scheduler.add(first)
    while not run_step(scheduler, cache):
        pass
    scheduler.remove(first)
    blocker, waiting = make(1, [2] * 60, max_tokens=20), make(2, [3] * 100, max_tokens=1)
    scheduler.add(blocker)
    scheduler.add(waiting)
    while not (done := run_step(scheduler, cache)):
        assert not waiting.blocks
    scheduler.remove(done[0])
    while not run_step(scheduler, cache):
        pass
    assert waiting.n_cached == 64
