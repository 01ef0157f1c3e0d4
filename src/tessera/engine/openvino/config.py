"""The options of the CPU engine: plain values only, which cross a pipe as msgpack."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class OpenVinoOptions:
    """The files of one model, and its budgets.

    `model_xml` is the path of the stateful OpenVINO IR, `tokenizer_json` that of the tokenizer, for grammars.
    `step_tokens` bounds the prompt tokens of one forward pass, and `step_gap_s` is what a pass beside running
    streams should take at most. `grammar_bytes` bounds the memory of compiled grammars. `precision` "f32"
    computes in float32 where "auto" takes what the device is fastest at. `threads` 0 uses every core.
    """

    model_xml: str
    tokenizer_json: str
    kv_cache_bytes: int
    step_tokens: int
    step_gap_s: float = 0.2
    grammar_bytes: int = 2**28
    precision: Literal["auto", "f32"] = "auto"
    threads: int = 0
