"""What a concrete engine adds to `BatchCore`."""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tessera.engine.batch.blocks import BlockPool
from tessera.engine.batch.memory import Memory
from tessera.engine.batch.sequence import TokenSequence

Planned: TypeAlias = list[tuple[TokenSequence, int]]
"""The sequences of a pass, and how many of their pending tokens it computes."""


class SequencesFailed(Exception):
    """A pass could not compute some of its sequences, of which it changed nothing. `logits` are those of all
    others, which it has computed.
    """

    def __init__(self, failed: Sequence[TokenSequence], logits: NDArray[np.float32], reason: str) -> None:
        super().__init__(reason)
        self.failed, self.logits, self.reason = failed, logits, reason


class Forward(Protocol):
    """A model with a cache of blocks."""

    @property
    def pool(self) -> BlockPool:
        """The blocks of BLOCK_TOKENS tokens that the cache has, all free."""
        ...

    @property
    def block_bytes(self) -> int:
        """The size of a block, in all layers."""
        ...

    @property
    def vocabulary_size(self) -> int:
        """The length of a row of logits."""
        ...

    @property
    def draft_cost(self) -> float:
        """What a pass of a single sequence costs with a draft, in passes without one; `math.inf` if a draft
        cannot be taken back.
        """
        ...

    def compute(self, planned: Planned, memory: Memory) -> NDArray[np.float32]:
        """Runs one pass over that many pending tokens of each sequence, and its draft.

        The keys and values go into the blocks of the sequence. Returns a row of logits for each token from
        which another is sampled: the last one of a sequence that has no more pending tokens, and each of its
        draft. They stay valid until the next call. Raises `SequencesFailed`; any other exception ends the
        engine.
        """
        ...

    def share(self, first: TokenSequence, sibling: TokenSequence, pool: BlockPool) -> bool:
        """Gives the sibling what `first` has computed, without changing it; False if no block is left."""
        ...

    def warm(self, memory: Memory) -> bool:
        """Uses idle time, for no longer than a step; False if there is nothing more to prepare."""
        ...
