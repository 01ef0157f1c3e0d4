"""Continuous batching: which sequences compute how many tokens in the next step (Yu et al. 2022, Orca).

Every step takes all running sequences. Those that decode add one token each; what is left of the token
budget goes to prompts, in chunks, oldest first, so that a long prompt never stalls the others for longer
than one chunk. When blocks run out, the lowest-ranking sequence gives its blocks back and is computed again
later. A sequence that is alone may guess ahead.
"""

from bisect import insort

from tessera.engine.openvino.blocks import BlockPool
from tessera.engine.openvino.sequence import Sequence


class Scheduler:
    """Owns the queues; blocks come from `pool`, which it alone hands out.

    `step_tokens` bounds the tokens of a step, except that decoding sequences are never left out.
    """

    def __init__(self, pool: BlockPool, *, max_sequences: int, step_tokens: int) -> None:
        self.pool = pool
        self.running: list[Sequence] = []
        self.waiting: list[Sequence] = []
        self._max_sequences = max_sequences
        self._step_tokens = step_tokens

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence; it starts in a later `plan`."""
        insort(self.waiting, sequence, key=_rank)

    def add_running(self, sequence: Sequence) -> None:
        """Start a sequence at once, its blocks already held; the caller has checked `has_room`."""
        insort(self.running, sequence, key=_rank)

    @property
    def has_room(self) -> bool:
        """Whether one more sequence may run."""
        return len(self.running) < self._max_sequences

    def remove(self, sequence: Sequence) -> None:
        """Forget a sequence, finished or not, and free what it held."""
        queue = self.running if sequence in self.running else self.waiting
        queue.remove(sequence)
        sequence.vacate(self.pool)

    def plan(self) -> list[tuple[Sequence, int]]:
        """The next step: sequences and how many of their pending tokens to compute, blocks for them
        reserved.
        """
        decoding = sum(sequence.n_pending for sequence in self.running if sequence.decodes)
        budget = max(self._step_tokens - decoding, 0)
        planned: list[tuple[Sequence, int]] = []
        for sequence in list(
            self.running
        ):  # by rank: whoever is preempted below comes later, or is the sequence itself
            if sequence not in self.running:
                break
            budget -= self._plan_one(sequence, budget, planned)
        while budget > 0 and (admitted := self._admit()):
            budget -= self._plan_one(admitted, budget, planned)
        self._draft(planned)
        return planned

    def _plan_one(self, sequence: Sequence, budget: int, planned: list[tuple[Sequence, int]]) -> int:
        """Reserve blocks for the sequence's part of the step; returns what it costs the prefill budget."""
        if not sequence.decodes:
            sequence.reuse(self.pool)
        count = sequence.n_pending if sequence.decodes else min(sequence.n_pending, budget)
        if not count or not self._reserve(sequence, count):
            return 0
        planned.append((sequence, count))
        return 0 if sequence.decodes else count

    def _draft(self, planned: list[tuple[Sequence, int]]) -> None:
        """Let a sequence that decodes alone guess ahead, if there are blocks for it. In a pass with others it
        would hold them up as often as not.
        """
        if [count for _, count in planned] != [1]:
            return
        sequence, _ = planned[0]
        if sequence.lookup is None:
            return
        draft = sequence.lookup.draft()
        blocks = self.pool.take(sequence.n_missing_blocks(len(sequence.tokens) + len(draft)))
        if blocks is not None:
            sequence.blocks += blocks
            sequence.draft = draft

    def _reserve(self, sequence: Sequence, count: int) -> bool:
        while (blocks := self.pool.take(sequence.n_missing_blocks(sequence.n_computed + count))) is None:
            victim = self.running[-1]
            self._preempt(victim)
            if victim is sequence:
                return False
        sequence.blocks += blocks
        return True

    def _preempt(self, sequence: Sequence) -> None:
        sequence.vacate(self.pool)
        sequence.preempted = True
        self.running.remove(sequence)
        insort(self.waiting, sequence, key=_rank)

    def _admit(self) -> Sequence | None:
        """Start the first waiting sequence if all of it fits now; nobody overtakes it."""
        if not self.waiting or not self.has_room:
            return None
        sequence = self.waiting[0]
        sequence.reuse(self.pool)
        if sequence.n_missing_blocks(len(sequence.tokens)) > self.pool.n_available:
            sequence.vacate(self.pool)
            return None
        self.add_running(self.waiting.pop(0))
        return sequence


def _rank(sequence: Sequence) -> tuple[int, int, int]:
    return sequence.rank
