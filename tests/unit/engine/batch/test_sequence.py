import pytest

from tessera.core.generation import Sampling
from tessera.engine.batch.blocks import BLOCK_TOKENS, BlockPool
from tessera.engine.batch.sampling import Sampler
from tessera.engine.batch.sequence import Sequence


def make(n_prompt: int, n_forced: int) -> Sequence:
    tokens = [*range(n_prompt + n_forced)]
    sampling = Sampling(100)
    sampler = Sampler(sampling, 0, tokens[:n_prompt], 1000)
    return Sequence(0, 0, tokens, n_prompt, b"", (0, 0, 0), sampling, sampler, lambda id: b"%d," % id)


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
