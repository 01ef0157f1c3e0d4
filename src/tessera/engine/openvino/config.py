"""What the engine's process is told at start: plain values only, for they cross a pipe as msgpack."""

import os
from dataclasses import dataclass
from typing import Literal

from tessera.core.generation import EngineInfo, Feature
from tessera.observe.logs import Form, Level

# The openvino package reports its imports to its makers, unless it finds no home to keep an identifier in.
HOMELESS = {"HOME": os.devnull}
FEATURES: frozenset[Feature] = frozenset({"grammar", "logprobs", "n", "thinking_budget"})


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """One model and its budgets.

    `model_xml` is the path of the stateful OpenVINO IR. `step_tokens` bounds the prompt tokens of one forward
    pass, and `step_gap_s` is what a pass beside running streams should take at most. `precision` "f32"
    computes in float32 where "auto" takes what the device is fastest at. `threads` 0 uses every core.
    `grammar_bytes` bounds what compiled grammars take.
    `tokenizer_json` is the path of the model's tokenizer, which grammars need. Its logs look like those of
    whoever starts it.
    """

    model_xml: str
    model_id: str
    context_tokens: int
    vocabulary_size: int
    eos_token_ids: tuple[int, ...]
    kv_cache_bytes: int
    max_sequences: int
    step_tokens: int
    tokenizer_json: str
    step_gap_s: float = 0.2
    grammar_bytes: int = 2**28
    precision: Literal["auto", "f32"] = "auto"
    threads: int = 0
    log_level: Level = "info"
    log_format: Form = "auto"

    def served(self) -> EngineInfo:
        """What an engine of this configuration serves."""
        return EngineInfo(
            model_id=self.model_id,
            context_tokens=self.context_tokens,
            vocabulary_size=self.vocabulary_size,
            eos_token_ids=frozenset(self.eos_token_ids),
            features=FEATURES,
            max_sequences=self.max_sequences,
        )
