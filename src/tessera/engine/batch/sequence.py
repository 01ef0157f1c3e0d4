"""One sequence on its way through the engine: its tokens, how far they are computed, and where."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tessera.core.generation import EngineFinish, Sampling, TokenChunk, TokenLogprob
from tessera.engine.batch.blocks import BLOCK_TOKENS, BlockPool, block_key, root_key
from tessera.engine.batch.constraint import Constraint
from tessera.engine.batch.drafts import Lookup
from tessera.engine.batch.sampling import Sampler

MOST_OVERTAKEN = 16
"""After as many times a sequence is not overtaken by others of its priority any more."""


@dataclass(slots=True, eq=False)
class TokenSequence:
    """Mutable state of sequence `index` of a request.

    `tokens` are prompt and output; the keys and values of the first `n_computed` of them are in `blocks`.
    Prefill, decode, forced tokens and recomputation after preemption are all the same thing: `tokens` not
    computed yet. `keys` are the keys of the full blocks, from the first on. `rank` orders sequences: the
    lowest runs first and is preempted last. The first `n_reported` output tokens have been given out, and
    `logprobs` are those of the others, if they are wanted. `n_cached` tokens of the prompt were reused;
    `spell` gives a token's bytes; `thinking_left` counts the thinking budget down and is None outside of
    the reasoning; `n_siblings` more sequences start from this one's prompt once it is computed.
    `draft` is what the step guesses of the tokens to come, and `lookup` where guesses are from. `held` are
    the logits of a sequence whose mask was not ready when they were computed. `n_overtaken` counts how often
    another sequence was started or kept instead of this one, and `n_sat_out` the steps since it last decoded.

    The output of a `reproducible` sequence does not depend on what else runs, nor on what was cached: see
    `graph`. The keys and values of the first `n_reproducible` tokens are as such a sequence computes them.
    """

    request: int
    index: int
    tokens: list[int]
    n_prompt: int
    salt: bytes
    rank: tuple[int, int, int]
    sampling: Sampling
    sampler: Sampler
    spell: Callable[[int], bytes]
    constraint: Constraint | None = None
    thinking_left: int | None = None
    n_reported: int = 0
    n_siblings: int = 0
    reproducible: bool = False
    n_computed: int = 0
    n_reproducible: int = 0
    n_cached: int = 0
    preempted: bool = False
    n_overtaken: int = 0
    n_sat_out: int = 0
    blocks: list[int] = field(default_factory=list[int])
    keys: list[bytes] = field(default_factory=list[bytes])
    logprobs: list[TokenLogprob] = field(default_factory=list[TokenLogprob])
    draft: list[int] = field(default_factory=list[int])
    lookup: Lookup | None = None
    held: NDArray[np.float32] | None = None

    @property
    def is_due(self) -> bool:
        """Whether it has been overtaken as often as a sequence may be."""
        return self.n_overtaken >= MOST_OVERTAKEN

    @property
    def sits_out(self) -> bool:
        """Whether it waits for its grammar: for what is forced next, or for a mask."""
        return self.held is not None or (
            self.constraint is not None and self.constraint.following is not None
        )

    @property
    def may_sample(self) -> bool:
        """Whether nothing but logits is missing for the next token."""
        return self.constraint is None or self.constraint.is_ready

    @property
    def n_pending(self) -> int:
        """Tokens whose keys and values are still to be computed; at least 1, unless the logits are held."""
        return len(self.tokens) - self.n_computed

    @property
    def n_output(self) -> int:
        """Tokens made so far."""
        return len(self.tokens) - self.n_prompt

    @property
    def n_left(self) -> int:
        """How many more tokens were asked for."""
        return self.sampling.max_tokens - self.n_output

    @property
    def decodes(self) -> bool:
        """Whether a single token is pending, or a few that follow computed output: the first of them is part
        of every step.
        """
        return self.n_pending == 1 or (self.streams and self.n_pending > 0)

    @property
    def streams(self) -> bool:
        """Whether its reader has had tokens and waits for the next."""
        return self.n_reported > 0 and self.n_pending <= BLOCK_TOKENS

    def ends_with(self, end: int | str) -> bool:
        """Whether the output ends with this control token, or with a token that completes this text."""
        if isinstance(end, int):
            return self.tokens[-1] == end
        wanted = end.encode()
        recent = self.tokens[max(self.n_prompt, len(self.tokens) - len(wanted)) :]
        last = len(self.spell(recent[-1]))
        return wanted in b"".join(map(self.spell, recent))[-len(wanted) - last + 1 :]

    def look_up(self, draft_cost: float) -> None:
        """Prepares guesses of the next tokens. Under a grammar there are none: each would need a mask.

        `draft_cost` is that of the engine's `Forward`.
        """
        self.draft = []
        if self.lookup:
            self.lookup.follow()
        elif self.constraint is None and math.isfinite(draft_cost):
            self.lookup = Lookup(self.tokens, draft_cost)

    def report(self, finish: EngineFinish | None) -> TokenChunk:
        """The output tokens that were not given out yet."""
        new = tuple(self.tokens[self.n_prompt + self.n_reported :])
        logprobs, self.logprobs = tuple(self.logprobs), []
        self.n_reported += len(new)
        return TokenChunk(self.index, new, finish, self.n_cached, logprobs)

    def reuse(self, pool: BlockPool) -> None:
        """Takes over blocks that others have computed, as far as they match. The last token is always
        computed.
        """
        if not self.blocks and not self.preempted:
            self.n_cached = 0
        if self.n_computed != len(self.blocks) * BLOCK_TOKENS:
            return
        n_own = len(self.keys)
        found = self._find_blocks(pool)
        n_taken = pool.placement.resume(self, found) if found else 0
        pool.release(found[n_taken:])
        del self.keys[n_own + n_taken :]
        for block in found[:n_taken]:
            if self.n_reproducible == self.n_computed and pool.is_reproducible(block):
                self.n_reproducible += BLOCK_TOKENS
            self.blocks.append(block)
            if not self.preempted:
                self.n_cached += max(0, min(BLOCK_TOKENS, self.n_prompt - self.n_computed))
            self.n_computed += BLOCK_TOKENS

    def n_missing_blocks(self, n_tokens: int) -> int:
        """How many blocks must be added before the first `n_tokens` tokens fit."""
        return max(-(-n_tokens // BLOCK_TOKENS) - len(self.blocks), 0)

    def advance(self, count: int, pool: BlockPool) -> None:
        """Notes that `count` more tokens are computed, and publishes the blocks that are full now."""
        if self.n_reproducible == self.n_computed and (self.reproducible or count > 1):
            self.n_reproducible += count
        self.n_computed += count
        while (end := (len(self.keys) + 1) * BLOCK_TOKENS) <= self.n_computed:
            index, key = len(self.keys), self._next_key()
            reproducible = end <= self.n_reproducible
            found = pool.publish(self.blocks[index], key, self.salt, reproducible=reproducible)
            self.keys.append(key)
            if not pool.placement.keep(self, index, found):
                pool.forget(found)

    def vacate(self, pool: BlockPool) -> None:
        """Gives all blocks back; everything is computed again if the sequence goes on."""
        pool.placement.leave(self)
        pool.release(self.blocks)
        self.blocks.clear()
        self.keys.clear()
        self.n_computed = self.n_reproducible = 0
        self.held = None

    def _find_blocks(self, pool: BlockPool) -> list[int]:
        """The blocks of the tokens to come, held; their keys are appended. The last token is left out."""
        found: list[int] = []
        while len(self.tokens) - len(self.keys) * BLOCK_TOKENS > BLOCK_TOKENS:
            key = self._next_key()
            block = pool.find(key, reproducible=self.reproducible)
            if block is None:
                break
            found.append(block)
            self.keys.append(key)
        return found

    def _next_key(self) -> bytes:
        start = len(self.keys) * BLOCK_TOKENS
        parent = self.keys[-1] if self.keys else root_key(self.salt)
        return block_key(parent, self.tokens[start : start + BLOCK_TOKENS])
