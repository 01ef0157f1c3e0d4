"""Continuous batching: which sequences compute how many tokens in the next step (Yu et al. 2022, Orca).

Every step takes the running sequences that decode, with one token each: all of them, unless the step would
last too long; then accounts share it (`share_out`). The rest of the step goes to prompts, in chunks: the
highest priority first; within a priority accounts take turns, and each account's prompts are computed in
order of arrival. While sequences decode, the chunks are as large as `Pace` allows. While a prompt is
computed, lower priorities take part in one step of a few only (`Precedence`). Tokens that a grammar forces
count as prompt tokens; a sequence that waits for its grammar skips the step. When blocks or places run out,
`preemption` says which sequence gives its blocks back and is computed again later. A sequence that decodes
alone may have a draft.

A waiting sequence starts when all of it fits. One that does not fit is overtaken by others that do, but only
MOST_OVERTAKEN times: then nothing of its account starts before it, and if its account runs nothing, nothing
of its priority or lower ones.
"""

import math
from bisect import insort
from collections import defaultdict
from collections.abc import Collection
from itertools import groupby

from tessera.engine.batch.blocks import BlockPool
from tessera.engine.batch.pace import PROMPT_TOKENS_AT_LEAST, Pace
from tessera.engine.batch.precedence import Precedence
from tessera.engine.batch.preemption import Loads, find_displaced, find_victim, make_way
from tessera.engine.batch.sequence import TokenSequence
from tessera.engine.batch.turns import PromptTurns, share_out


class Scheduler:
    """Owns the queues; blocks come from `pool`, which it alone hands out.

    `step_tokens` bounds the tokens of a step, except that decoding sequences do not count and that
    prompts always get PROMPT_TOKENS_AT_LEAST. A step in which sequences decode should last `gap_s` at most.
    """

    def __init__(
        self, pool: BlockPool, *, max_sequences: int, step_tokens: int, gap_s: float = math.inf
    ) -> None:
        self.pool = pool
        self.running: list[TokenSequence] = []
        self.waiting: list[TokenSequence] = []
        self._max_sequences = max_sequences
        self._step_tokens = step_tokens
        self._pace = Pace(gap_s)
        self._turns: dict[int, PromptTurns] = defaultdict(PromptTurns)  # by priority
        self._precedence = Precedence()
        self._taking_part: list[TokenSequence] = []
        self._n_prompt = self._n_decoding = 0
        self._n_shared = 0  # that decoded in the last step of all priorities

    def add(self, sequence: TokenSequence) -> None:
        """Queues a sequence; it starts in a later `plan`."""
        insort(self.waiting, sequence, key=_rank)

    def add_running(self, sequence: TokenSequence) -> None:
        """Starts a sequence that holds its blocks already; the caller has checked `has_room`."""
        insort(self.running, sequence, key=_rank)

    @property
    def has_room(self) -> bool:
        """Whether one more sequence may run."""
        return len(self.running) < self._max_sequences

    def remove(self, sequence: TokenSequence) -> None:
        """Removes a sequence, finished or not, and frees its blocks."""
        queue = self.running if sequence in self.running else self.waiting
        queue.remove(sequence)
        sequence.vacate(self.pool)

    def plan(self) -> list[tuple[TokenSequence, int]]:
        """Plans the next step: its sequences, and how many of their pending tokens it computes. Blocks for
        these are reserved.
        """
        self._admit()
        active = [each for each in self.running if not each.sits_out]
        self._taking_part = self._precedence.choose(active)
        planned: dict[TokenSequence, int] = {}
        for sequence in self._choose_decoding():
            self._plan_one(sequence, 1, planned)
        self._n_decoding = len(planned)
        self._plan_prompts(planned)
        self._draft(planned)
        self._n_prompt = sum(count - sequence.decodes for sequence, count in planned.items())
        return list(planned.items())

    def measure(self, duration_s: float) -> None:
        """Learns how long the planned step took."""
        self._pace.measure(self._n_prompt, duration_s, self._n_decoding)

    def prompt_budget(self) -> int:
        """How many prompt tokens the step of the last plan may compute."""
        most = max(self._step_tokens - self._n_decoding, min(PROMPT_TOKENS_AT_LEAST, self._step_tokens))
        streaming = any(sequence.streams for sequence in self._taking_part)
        return self._pace.prompt_tokens(most, self._n_decoding) if streaming else most

    def _choose_decoding(self) -> list[TokenSequence]:
        """Chooses who decodes in this step: all, or a share of each account if all would take too long."""
        active = self._taking_part
        decoding = [each for each in active if each.decodes]
        is_alone = len({each.salt for each in active}) == 1  # to hold it back would help nobody
        most = self._pace.decoding(self._n_shared, beside_prompts=len(decoding) < len(active))
        chosen = decoding if is_alone else share_out(decoding, most)
        if not self._precedence.n_steps:
            self._n_shared = len(chosen)
        for sequence in decoding:
            sequence.n_sat_out += 1
        for sequence in chosen:
            sequence.n_sat_out = 0
        return chosen

    def _plan_prompts(self, planned: dict[TokenSequence, int]) -> None:
        """Shares the budget of prompt tokens out among the sequences that have more to compute."""
        budget = left = self.prompt_budget()
        for priority, ranked in groupby(self._taking_part, key=lambda sequence: sequence.rank[0]):
            claims: dict[bytes, list[TokenSequence]] = defaultdict(list)
            for sequence in ranked:
                decodes_later = sequence.decodes and sequence not in planned
                if sequence.n_pending > planned.get(sequence, 0) and not decodes_later:
                    claims[sequence.salt].append(sequence)
            turns = self._turns[priority]
            for account in turns.order(claims):
                before = left
                # Sequences that have begun to answer come first.
                for sequence in sorted(claims[account], key=lambda each: not each.n_reported):
                    left -= self._plan_one(sequence, left, planned) if left else 0
                turns.serve(account, (before - left) / budget)

    def _plan_one(self, sequence: TokenSequence, most: int, planned: dict[TokenSequence, int]) -> int:
        """Plans up to `most` more tokens of the sequence, with their blocks; returns how many it gets."""
        if sequence not in self.running:  # preempted in this plan
            return 0
        if not sequence.decodes:
            sequence.reuse(self.pool)
        already = planned.get(sequence, 0)
        count = min(sequence.n_pending, already + most)
        if not self._reserve(sequence, count, planned):
            return 0
        planned[sequence] = count
        return count - already

    def _draft(self, planned: dict[TokenSequence, int]) -> None:
        """Adds a draft to a sequence that decodes alone, if there are blocks for it. In a pass with other
        sequences, the draft would delay them about as often as it helps.
        """
        if [*planned.values()] != [1]:
            return
        (sequence,) = planned
        if sequence.lookup is None:
            return
        draft = sequence.lookup.draft()
        blocks = self.pool.take(sequence.n_missing_blocks(len(sequence.tokens) + len(draft)))
        if blocks is not None:
            sequence.blocks += blocks
            sequence.draft = draft

    def _reserve(self, sequence: TokenSequence, count: int, planned: dict[TokenSequence, int]) -> bool:
        while (blocks := self.pool.take(sequence.n_missing_blocks(sequence.n_computed + count))) is None:
            victim = find_victim(self.running, self._loads(self.running))
            self._preempt(victim)
            planned.pop(victim, None)
            if victim is sequence:
                return False
        sequence.blocks += blocks
        return True

    def _preempt(self, sequence: TokenSequence) -> None:
        sequence.preempted |= sequence.n_computed > sequence.n_cached
        sequence.n_overtaken += 1
        sequence.vacate(self.pool)
        self.running.remove(sequence)
        insort(self.waiting, sequence, key=_rank)

    def _admit(self) -> None:
        """Starts waiting sequences until none can start."""
        while self._start_next():
            pass

    def _start_next(self) -> bool:
        """Starts the first waiting sequence that can start, in the order of `_turn`."""
        loads = self._loads(self.running)
        passed: list[TokenSequence] = []
        blocked: set[bytes] = set()
        for sequence in sorted(self.waiting, key=lambda each: _turn(each, loads)):
            if sequence.salt in blocked:
                continue
            if self._start(sequence, loads):
                for each in passed:
                    each.n_overtaken += each.rank[0] <= sequence.rank[0]
                return True
            passed.append(sequence)
            if sequence.is_due:
                if not loads.of(sequence.salt):
                    return False
                blocked.add(sequence.salt)
        return False

    def _start(self, sequence: TokenSequence, loads: Loads) -> bool:
        """Starts a waiting sequence if all of it fits, perhaps after others were preempted for it."""
        if not self.has_room and not find_displaced(sequence, self.running, loads):
            return False
        sequence.reuse(self.pool)
        n_needed = sequence.n_missing_blocks(len(sequence.tokens))

        def is_room(rest: list[TokenSequence]) -> bool:
            n_promised = sum(each.n_missing_blocks(len(each.tokens)) for each in rest)
            n_held = len(set(sequence.blocks).union(*(each.blocks for each in rest)))
            n_free = self.pool.n_blocks - n_held
            return len(rest) < self._max_sequences and n_promised + n_needed <= n_free

        victims = make_way(sequence, self.running, self._loads, is_room)
        if victims is None:
            sequence.vacate(self.pool)
            return False
        for victim in victims:
            self._preempt(victim)
        self.waiting.remove(sequence)
        self.add_running(sequence)
        return True

    def _loads(self, running: Collection[TokenSequence]) -> Loads:
        return Loads(running, self._max_sequences, self.pool.n_blocks)


def _turn(sequence: TokenSequence, loads: Loads) -> tuple[int, bool, int, tuple[int, int, int]]:
    """Orders waiting sequences: by priority; those that are due; by the load of the account; by arrival."""
    load = loads.of(sequence.salt)
    return sequence.rank[0], not (sequence.is_due and not load), load, sequence.rank


def _rank(sequence: TokenSequence) -> tuple[int, int, int]:
    return sequence.rank
