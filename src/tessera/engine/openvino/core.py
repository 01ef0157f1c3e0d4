"""The CPU engine: a `BatchCore` whose passes OpenVINO computes."""

import time
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from tessera.core.generation import EngineInfo
from tessera.engine.batch.blocks import BlockPool
from tessera.engine.batch.core import BatchCore
from tessera.engine.batch.forward import Planned
from tessera.engine.batch.masks import Clock, Compute, compute_mask
from tessera.engine.batch.memory import Measure, Memory, heap_bytes, trim
from tessera.engine.batch.sequence import TokenSequence
from tessera.engine.batch.siblings import share_blocks
from tessera.engine.openvino.config import OpenVinoOptions
from tessera.engine.openvino.graph import PagedGraph, TokenSpan, padded
from tessera.engine.openvino.warming import Warming
from tessera.text.hf import HfTokenizer

# A pass of eight rows, in passes of one (measured).
_DRAFT_COST = 1.5


class OpenVinoForward:
    """A `Forward`. Loads, compiles and warms up on construction (seconds)."""

    def __init__(self, options: OpenVinoOptions, max_sequences: int) -> None:
        self.graph = PagedGraph(
            Path(options.model_xml),
            precision=options.precision,
            threads=options.threads,
            kv_cache_bytes=options.kv_cache_bytes,
        )
        self.pool = BlockPool(self.graph.n_blocks)
        self.block_bytes = self.graph.block_bytes
        self.draft_cost = _DRAFT_COST
        self.vocabulary_size = self.graph.vocabulary_size
        self._warming = Warming(self.graph, max_sequences=max_sequences, step_tokens=options.step_tokens)
        trim()  # compiling the model leaves much behind

    def compute(self, planned: Planned, memory: Memory) -> NDArray[np.float32]:
        spans = [_span(sequence, n_tokens) for sequence, n_tokens in planned]
        n_rows = padded(sum(len(span.token_ids) for span in spans))
        with memory.making_kernels(n_rows, sum(span.n_sampled for span in spans)):
            self.graph.start(spans)
            return self.graph.logits()

    def share(self, first: TokenSequence, sibling: TokenSequence, pool: BlockPool) -> bool:
        return share_blocks(first, sibling, pool, self.graph.copy_block)

    def warm(self, memory: Memory) -> bool:
        """Makes the kernels of the next larger batch."""
        if self._warming.is_done:
            return False
        n_rows = self._warming.next_rows
        with memory.making_kernels(n_rows, n_rows):
            self._warming.warm_next()
        return True


def open_core(
    served: EngineInfo,
    options: Mapping[str, object],
    *,
    compute: Compute = compute_mask,
    clock: Clock = time.thread_time,
    measure: Measure = heap_bytes,
) -> BatchCore:
    """A `CoreFactory`; `options` are the fields of `OpenVinoOptions`, the others are those of `BatchCore`."""
    config = msgspec.convert(options, OpenVinoOptions)
    return BatchCore(
        served,
        OpenVinoForward(config, served.max_sequences),
        HfTokenizer.from_file(Path(config.tokenizer_json)),
        step_tokens=config.step_tokens,
        step_gap_s=config.step_gap_s,
        grammar_bytes=config.grammar_bytes,
        all_reproducible=config.precision == "f32",
        compute=compute,
        clock=clock,
        measure=measure,
    )


def _span(sequence: TokenSequence, n_tokens: int) -> TokenSpan:
    start = sequence.n_computed
    end = start + n_tokens
    n_sampled = 1 + len(sequence.draft) if end == len(sequence.tokens) else 0
    if sequence.reproducible and start and n_tokens + len(sequence.draft) == 1:
        start -= 1  # two rows at least: the token before is computed again, and comes out the same
    token_ids = sequence.tokens[start:end] + sequence.draft
    return TokenSpan(token_ids, start, sequence.blocks, n_sampled)
