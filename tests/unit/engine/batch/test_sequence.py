import pytest

from tessera.core.generation import Sampling
from tessera.engine.batch.blocks import BLOCK_TOKENS, BlockPool
from tessera.engine.batch.sampling import Sampler
from tessera.engine.batch.sequence import TokenSequence


def make(n_prompt: int, n_forced: int) -> TokenSequence:
    tokens = [*range(n_prompt + n_forced)]
    sampling = Sampling(100)
    sampler = Sampler(sampling, 0, tokens[:n_prompt], 1000)
    return TokenSequence(0, 0, tokens, n_prompt, b"", (0, 0, 0), sampling, sampler, lambda id: b"%d," % id)


@pytest.mark.parametrize(
    ("n_prompt", "n_forced", "n_cached"), [(40, 60, 40), (64, 20, 64), (90, 0, 64), (20, 13, 20), (20, 5, 0)]
)
def test_only_what_is_of_the_prompt_counts_as_cached(n_prompt: int, n_forced: int, n_cached: int) -> None:
    pool = BlockPool(8)
    for expected in (0, n_cached):
        one = make(n_prompt, n_forced)
        one.reuse(pool)
        blocks = pool.take(one.n_missing_blocks(len(one.tokens)))
        assert blocks is not None
        one.blocks += blocks
        one.advance(one.n_pending, pool)
        assert one.report(None).cached_tokens == expected
        one.vacate(pool)
    assert len(one.tokens) // BLOCK_TOKENS == pool.n_kept


def compute(one: TokenSequence, pool: BlockPool, *counts: int) -> None:
    blocks = pool.take(one.n_missing_blocks(one.n_computed + sum(counts)))
    assert blocks is not None
    one.blocks += blocks
    for count in counts:
        one.advance(count, pool)


@pytest.mark.parametrize(
    ("counts", "n_taken"),
    [
        ((90,), 64),
        ((32, 58), 64),
        ((31, 2, 57), 64),
        ((1, 89), 0),
        ((32, 1, 57), 32),
        ((63, 1, 26), 32),
        ((64, *[1] * 26), 64),
    ],
)
def test_a_reproducible_sequence_takes_what_was_not_computed_token_by_token(
    counts: tuple[int, ...], n_taken: int
) -> None:
    pool = BlockPool(12)
    other, one, again = make(90, 0), make(90, 0), make(90, 0)
    compute(other, pool, *counts)
    one.reproducible = again.reproducible = True
    one.reuse(pool)
    assert one.n_computed == n_taken
    compute(one, pool, *[1] * one.n_pending)
    again.reuse(pool)
    assert again.n_computed == 64, "what it computes itself is reproducible"
    plain = make(90, 0)
    plain.reuse(pool)
    assert plain.n_computed == plain.n_reproducible == 64


def test_what_follows_other_blocks_is_not_reproducible() -> None:
    pool = BlockPool(12)
    first, second, third = make(40, 0), make(96, 0), make(96, 0)
    compute(first, pool, *[1] * 40)
    second.reuse(pool)
    assert second.n_computed == 32
    compute(second, pool, second.n_pending)
    third.reproducible = True
    third.reuse(pool)
    assert third.n_computed == 0


@pytest.mark.parametrize(
    ("n_output", "end", "ends"),
    [
        (3, 12, True),
        (3, 11, False),
        (3, "11,", False),
        (3, "12,", True),
        (3, ",12", True),
        (1, "0,", True),
        (1, "9,10", False),
    ],
)
def test_the_output_ends_with_a_token_or_with_text_that_it_completes(
    n_output: int, end: int | str, ends: bool
) -> None:
    assert make(10, n_output).ends_with(end) is ends
