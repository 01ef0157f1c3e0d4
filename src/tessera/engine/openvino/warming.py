"""Makes kernels in advance, so that no request waits for those of its number of rows."""

from tessera.engine.batch.blocks import BLOCK_TOKENS
from tessera.engine.batch.drafts import DRAFT_TOKENS
from tessera.engine.openvino.graph import PagedGraph, TokenSpan, padded
from tessera.errors import StartupError

WARM_ROWS = 16
"""Batches up to this size are ready when the engine is; larger ones follow while it is idle."""


class Warming:
    """The batches whose kernels are still to be made."""

    def __init__(self, graph: PagedGraph, *, max_sequences: int, step_tokens: int) -> None:
        """Makes the kernels of prompts, drafts and small batches, so that no request pays for them.

        Raises `StartupError` if the cache does not hold a step.
        """
        if graph.n_blocks * BLOCK_TOKENS < step_tokens:
            raise StartupError(
                f"kv_cache_bytes holds {graph.n_blocks} blocks of {graph.block_bytes} bytes,"
                f" too few for a step of {step_tokens} tokens. Set it higher."
            )
        self._graph = graph
        self._cold = sorted({padded(1 + n) for n in range(max_sequences)}, reverse=True)
        chunk = TokenSpan([0] * step_tokens, 0, range(-(-step_tokens // BLOCK_TOKENS)), n_sampled=1)
        draft = TokenSpan([0] * (1 + DRAFT_TOKENS), 0, range(1), n_sampled=1 + DRAFT_TOKENS)
        for span in (chunk, draft):
            graph.start([span])
            graph.logits()
        while self._cold and self._cold[-1] <= WARM_ROWS:
            self.warm_next()

    @property
    def is_done(self) -> bool:
        """Whether all batches are warm."""
        return not self._cold

    @property
    def next_rows(self) -> int:
        """The size of the next larger batch, unless this is done."""
        return self._cold[-1]

    def warm_next(self) -> None:
        """Make the kernels of the next larger batch."""
        self._graph.warm(self._cold.pop())
