"""The llama.cpp engine: a `BatchCore` whose passes llama.cpp computes."""

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from tessera.core.generation import EngineInfo
from tessera.engine.batch.blocks import BLOCK_TOKENS, BlockPool
from tessera.engine.batch.core import BatchCore
from tessera.engine.batch.drafts import DRAFT_TOKENS
from tessera.engine.batch.forward import Planned
from tessera.engine.batch.masks import Clock, Compute, compute_mask
from tessera.engine.batch.memory import Measure, Memory, heap_bytes
from tessera.engine.batch.pace import PROMPT_TOKENS_AT_LEAST
from tessera.engine.batch.sequence import TokenSequence
from tessera.engine.batch.siblings import share_blocks
from tessera.engine.llamacpp.config import LlamaOptions
from tessera.engine.llamacpp.context import CELL_STEP, Context, ContextParams, Model, Span
from tessera.engine.llamacpp.lanes import Lanes
from tessera.engine.llamacpp.library import open_library
from tessera.engine.llamacpp.seats import Seats
from tessera.text.hf import HfTokenizer

MOST_IDS = 256
"""llama.cpp knows no more sequences."""


class LlamaForward:
    """A `Forward`. Loads the model on construction."""

    def __init__(self, options: LlamaOptions, max_sequences: int) -> None:
        _library, api = open_library(Path(options.library) if options.library else None)
        model = Model(api, [Path(path) for path in options.ggufs], {})
        self.vocabulary_size = model.vocabulary_size
        self.block_bytes = _cell_bytes(model, options) * BLOCK_TOKENS
        n_tokens = options.step_tokens + max_sequences + PROMPT_TOKENS_AT_LEAST + DRAFT_TOKENS
        n_cells = options.kv_cache_bytes // self.block_bytes * BLOCK_TOKENS // CELL_STEP * CELL_STEP
        self.context = Context(
            model,
            ContextParams(
                n_cells=n_cells,
                n_ids=MOST_IDS,
                n_tokens=n_tokens,
                n_at_once=512,
                n_sampled=max_sequences + DRAFT_TOKENS,
                threads=options.threads or len(os.sched_getaffinity(0)),
                kv_type=options.kv_type,
            ),
        )
        self.seats = Seats(self.context, max_sequences, Lanes(self.context, range(max_sequences, MOST_IDS)))
        self.pool = BlockPool(n_cells // BLOCK_TOKENS, self.seats)
        self.draft_cost = 2.0

    def compute(self, planned: Planned, memory: Memory) -> NDArray[np.float32]:
        spans = [self._span(sequence, n_tokens) for sequence, n_tokens in planned]
        n_rows, n_sampled = sum(len(span.token_ids) for span in spans), sum(span.n_sampled for span in spans)
        with memory.making_kernels(n_rows, n_sampled):
            logits = self.context.run(spans)
        for sequence, n_tokens in planned:
            self.seats.computed(sequence, n_tokens + len(sequence.draft))
        return logits

    def share(self, first: TokenSequence, sibling: TokenSequence, pool: BlockPool) -> bool:
        if not share_blocks(first, sibling, pool, lambda source, target: None):
            return False
        self.seats.fork(first, sibling)
        return True

    def warm(self, memory: Memory) -> bool:
        return False

    def _span(self, sequence: TokenSequence, n_tokens: int) -> Span:
        start, end = sequence.n_computed, sequence.n_computed + n_tokens
        n_sampled = 1 + len(sequence.draft) if end == len(sequence.tokens) else 0
        token_ids = sequence.tokens[start:end] + sequence.draft
        return Span(self.seats.enter(sequence), start, token_ids, n_sampled)


def _cell_bytes(model: Model, options: LlamaOptions) -> int:
    """What a token takes in all layers, as the library counts it."""
    params = ContextParams(
        n_cells=CELL_STEP, n_ids=1, n_tokens=2, n_at_once=2, n_sampled=1, threads=1, kv_type=options.kv_type
    )
    probe = Context(model, params)
    sizes: list[int] = []
    for n_past in range(2):
        probe.run([Span(0, n_past, [0], 0)])
        sizes.append(probe.state_bytes(0, whole=True))
    probe.close()
    return sizes[1] - sizes[0]


def open_core(
    served: EngineInfo,
    options: Mapping[str, object],
    *,
    compute: Compute = compute_mask,
    clock: Clock = time.thread_time,
    measure: Measure = heap_bytes,
) -> BatchCore:
    """A `CoreFactory`; `options` are the fields of `LlamaOptions`, the others are those of `BatchCore`."""
    config = msgspec.convert(options, LlamaOptions)
    return BatchCore(
        replace(served, max_sequences=min(served.max_sequences, MOST_IDS // 2)),
        LlamaForward(config, min(served.max_sequences, MOST_IDS // 2)),
        HfTokenizer.from_file(Path(config.tokenizer_json)),
        step_tokens=config.step_tokens,
        step_gap_s=config.step_gap_s,
        grammar_bytes=config.grammar_bytes,
        compute=compute,
        clock=clock,
        measure=measure,
    )
