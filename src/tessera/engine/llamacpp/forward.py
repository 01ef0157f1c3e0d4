"""A forward pass in llama.cpp, over a plan of `BatchCore`."""

import logging
import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tessera.core.generation import EngineInfo
from tessera.engine.batch.blocks import BLOCK_TOKENS, BlockPool
from tessera.engine.batch.drafts import DRAFT_TOKENS
from tessera.engine.batch.forward import Planned, SequencesFailed
from tessera.engine.batch.memory import Memory
from tessera.engine.batch.sequence import TokenSequence
from tessera.engine.batch.siblings import share_blocks
from tessera.engine.llamacpp.checkpoints import Checkpoints
from tessera.engine.llamacpp.complaints import PassRefused
from tessera.engine.llamacpp.config import LlamaOptions
from tessera.engine.llamacpp.context import Context, Span
from tessera.engine.llamacpp.exact import run_exactly
from tessera.engine.llamacpp.lanes import Lanes
from tessera.engine.llamacpp.library import open_library
from tessera.engine.llamacpp.loading import load
from tessera.engine.llamacpp.seats import Seats
from tessera.engine.llamacpp.sizes import MOST_IDS, divide, measure

_logger = logging.getLogger(__name__)

_N_TIMED = 3


class LlamaForward:
    """A `Forward`. Loads the model on construction, which may take minutes."""

    def __init__(self, options: LlamaOptions, served: EngineInfo) -> None:
        """Raises `StartupError` for a library, a model or a budget that does not do."""
        library, api = open_library(Path(options.library) if options.library else None)
        model = load(library, api, options, served)
        measured = measure(model, options)
        sizes = divide(
            options,
            measured,
            vocabulary_size=model.vocabulary_size,
            has_windows=model.has_windows,
            max_sequences=served.max_sequences,
            context_tokens=served.context_tokens,
            threads=options.threads or _n_cores(),
        )
        self.max_sequences, self.context_tokens = sizes.n_seats, sizes.context_tokens
        if sizes.n_seats < served.max_sequences:
            _logger.warning(
                "llama.cpp: at most %d sequences run at once, fewer than the %d of max_sequences: %s",
                sizes.n_seats,
                served.max_sequences,
                f"each has a state of {measured.state_bytes / 2**20:.1f} MiB, which state_bytes bounds"
                if measured.state_bytes
                else f"it knows {MOST_IDS} in all, with those that are kept",
            )
        self.vocabulary_size = model.vocabulary_size
        self.block_bytes = measured.cell_bytes * BLOCK_TOKENS
        self.state_bytes = measured.state_bytes
        self.context = Context(model, sizes.context)
        self._spare = sizes.n_seats if options.exact else None
        lanes, self._checkpoints = None, None
        if sizes.n_lanes:
            first = sizes.n_seats + 1
            empty = sizes.n_seats if model.has_states else None
            lanes = Lanes(self.context, range(first, first + sizes.n_lanes), empty, twins=model.has_windows)
            if model.has_states:
                self._checkpoints = Checkpoints(self.context, sizes.checkpoint_bytes)
        self._seats = Seats(self.context, sizes.n_seats, lanes, self._checkpoints)
        self.pool = BlockPool(sizes.n_blocks, self._seats)
        # What a draft adds to a recurrent state cannot be taken back.
        self.draft_cost = math.inf if model.has_states or options.exact else self._time_draft()

    def compute(self, planned: Planned, memory: Memory) -> NDArray[np.float32]:
        self._seats.trim()
        spans = [self._span(sequence, n_tokens) for sequence, n_tokens in planned]
        try:
            logits = self._run(spans)
        except PassRefused as refusal:
            if self._spare is not None or self._checkpoints:
                raise  # these compute a pass in parts, of which some are done
            logits, failed = self._run_apart([each for each, _ in planned], spans)
            self._note([each for each in planned if each[0] not in failed])
            if len(failed) == len(planned) > 1:
                raise
            raise SequencesFailed(failed, logits, str(refusal)) from refusal
        self._note(planned)
        return logits

    def _note(self, computed: Planned) -> None:
        for sequence, n_tokens in computed:
            self._seats.computed(sequence, n_tokens + len(sequence.draft))

    def _run_apart(
        self, sequences: Sequence[TokenSequence], spans: Sequence[Span]
    ) -> tuple[NDArray[np.float32], list[TokenSequence]]:
        """Computes each sequence in a pass of its own; returns those that are refused, and the logits of all
        others.
        """
        rows = [np.empty((0, self.vocabulary_size), np.float32)]
        failed: list[TokenSequence] = []
        for sequence, span in zip(sequences, spans, strict=True):
            try:
                rows.append(self.context.run([span]).copy())
            except PassRefused:
                failed.append(sequence)
        return np.concatenate(rows), failed

    def _run(self, spans: list[Span]) -> NDArray[np.float32]:
        if self._spare is None:
            return self.context.run(spans)
        return run_exactly(self.context, spans, self._spare)

    def share(self, first: TokenSequence, sibling: TokenSequence, pool: BlockPool) -> bool:
        if not share_blocks(first, sibling, pool, _no_copy):
            return False
        self._seats.fork(first, sibling)
        return True

    def warm(self, memory: Memory) -> bool:
        return False

    def _span(self, sequence: TokenSequence, n_tokens: int) -> Span:
        """What is left to compute once the states that are to be kept have been copied on the way."""
        seat = self._seats.enter(sequence)
        start, end = sequence.n_computed, sequence.n_computed + n_tokens
        for cut in self._checkpoints.cuts(sequence, n_tokens) if self._checkpoints else ():
            self.context.run([Span(seat, start, sequence.tokens[start:cut], 0)])
            self._seats.copy_state(sequence, cut)
            start = cut
        n_sampled = 1 + len(sequence.draft) if end == len(sequence.tokens) else 0
        return Span(seat, start, sequence.tokens[start:end] + sequence.draft, n_sampled)

    def _time_draft(self) -> float:
        """The time of a pass with a draft, in passes of a single token."""
        times_s: dict[int, float] = {}
        for n_rows in (1, 1 + DRAFT_TOKENS):
            times_s[n_rows] = math.inf
            for _ in range(_N_TIMED):
                begun_s = time.perf_counter()
                self.context.run([Span(0, 0, [0] * n_rows, n_rows)])
                times_s[n_rows] = min(times_s[n_rows], time.perf_counter() - begun_s)
                self.context.remove(0)
        return max(1.0, times_s[1 + DRAFT_TOKENS] / times_s[1])


def _n_cores() -> int:
    """Those that this process may use, where the system says so."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _no_copy(source: int, target: int) -> None:
    """A partial block is shared with the rest of the sequence."""
