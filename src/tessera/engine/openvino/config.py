"""What the engine's process is told at start: plain values only, for they cross a pipe as msgpack."""

from dataclasses import dataclass
from typing import Literal

from tessera.core.generation import EngineInfo, Feature

FEATURES: frozenset[Feature] = frozenset({"logprobs", "n"})


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """One model and its budgets.

    `model_xml` is the path of the stateful OpenVINO IR. `step_tokens` bounds the prompt tokens of one forward
    pass. `precision` "f32" computes in float32 where "auto" takes what the device is fastest at. `threads` 0
    uses every core. `cache_dir` keeps compiled models; None keeps none. `tokenizer_json` is the path of the
    model's tokenizer, without which no grammar can be followed.
    """

    model_xml: str
    model_id: str
    context_tokens: int
    vocabulary_size: int
    eos_token_ids: tuple[int, ...]
    kv_cache_bytes: int
    max_sequences: int
    step_tokens: int
    precision: Literal["auto", "f32"] = "auto"
    threads: int = 0
    cache_dir: str | None = None
    tokenizer_json: str | None = None

    def served(self) -> EngineInfo:
        """What an engine of this configuration serves."""
        return EngineInfo(
            model_id=self.model_id,
            context_tokens=self.context_tokens,
            vocabulary_size=self.vocabulary_size,
            eos_token_ids=frozenset(self.eos_token_ids),
            features=FEATURES,
        )
