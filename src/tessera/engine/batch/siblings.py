"""The further sequences of a request that asks for several: they start where its prompt is computed."""

from collections.abc import Callable

from tessera.engine.batch.blocks import BLOCK_TOKENS, BlockPool
from tessera.engine.batch.sampling import Sampler
from tessera.engine.batch.sequence import TokenSequence


def make_sibling(first: TokenSequence, index: int, vocabulary_size: int) -> TokenSequence:
    """A sequence in the state of `first`, with random numbers of its own."""
    prompt, forced = first.tokens[: first.n_prompt], first.tokens[first.n_prompt :]
    sampler = Sampler(first.sampling, index, prompt, vocabulary_size)
    for token_id in forced:
        sampler.accept(token_id)
    return TokenSequence(
        request=first.request,
        index=index,
        tokens=prompt + forced,
        n_prompt=first.n_prompt,
        salt=first.salt,
        rank=(*first.rank[:2], index),
        sampling=first.sampling,
        sampler=sampler,
        spell=first.spell,
        constraint=first.constraint and first.constraint.copy(),
        thinking_left=first.thinking_left,
        reproducible=first.reproducible,
        logprobs=[*first.logprobs],
    )


def share_blocks(
    first: TokenSequence, sibling: TokenSequence, pool: BlockPool, copy_block: Callable[[int, int], None]
) -> bool:
    """Gives the sibling the full blocks of the prompt and a copy of the last, partial one. Returns False, and
    changes nothing, if no block is left for the copy.
    """
    n_full = first.n_computed // BLOCK_TOKENS
    partial = pool.take(len(first.blocks) - n_full)
    if partial is None:
        return False
    for source, target in zip(first.blocks[n_full:], partial, strict=True):
        copy_block(source, target)
    for block in first.blocks[:n_full]:
        pool.hold(block)
    sibling.blocks += first.blocks[:n_full] + partial
    sibling.keys += first.keys
    sibling.n_computed, sibling.n_cached = first.n_computed, first.n_cached
    sibling.n_reproducible = first.n_reproducible
    return True
