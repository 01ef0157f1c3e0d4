"""The llama.cpp engine: a `BatchCore` whose passes llama.cpp computes."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from tessera.core.generation import EngineInfo
from tessera.engine.batch.core import BatchCore
from tessera.engine.batch.masks import Clock, Compute, compute_mask
from tessera.engine.batch.memory import Measure, heap_bytes
from tessera.engine.llamacpp.config import LlamaOptions
from tessera.engine.llamacpp.forward import LlamaForward
from tessera.engine.llamacpp.vocabulary import open_tokenizer
from tessera.text.hf import HfTokenizer
from tessera.text.tokenizer import Tokenizer


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
    forward = LlamaForward(config, served)
    return BatchCore(
        replace(served, max_sequences=forward.max_sequences, context_tokens=forward.context_tokens),
        forward,
        _tokenizer(config),
        step_tokens=config.step_tokens,
        step_gap_s=config.step_gap_s,
        grammar_bytes=config.grammar_bytes,
        all_reproducible=config.exact,
        compute=compute,
        clock=clock,
        measure=measure,
    )


def _tokenizer(config: LlamaOptions) -> Tokenizer:
    if config.tokenizer_json is not None:
        return HfTokenizer.from_file(Path(config.tokenizer_json))
    return open_tokenizer(
        Path(config.library) if config.library else None, [Path(path) for path in config.ggufs]
    )
