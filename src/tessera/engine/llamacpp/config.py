"""The options of the llama.cpp engine: plain values only, which cross a pipe as msgpack."""

from dataclasses import dataclass

from tessera.models.layers import KvType


@dataclass(frozen=True, slots=True)
class LlamaOptions:
    """The files of one model, its budgets, and where it is computed.

    `ggufs` are the parts of the model in their order; `tokenizer_json` is the path of its tokenizer, for
    grammars, or None to use the library's own. `library` is the path of the library, None for the one that a
    package brings. `state_bytes` bounds the recurrent states of a hybrid model. `gpu_layers` are computed on
    GPUs, None for as many as fit; the experts of the first `cpu_experts` layers stay in the processor's
    memory. An `exact` engine gives the same tokens whatever else runs, and shares no prefixes. The others are
    those of `OpenVinoOptions`.
    """

    ggufs: list[str]
    tokenizer_json: str | None
    kv_cache_bytes: int
    step_tokens: int
    library: str | None = None
    state_bytes: int = 2**31
    step_gap_s: float = 0.2
    grammar_bytes: int = 2**28
    threads: int = 0
    gpu_layers: int | None = None
    cpu_experts: int = 0
    kv_type: KvType = "f16"
    exact: bool = False
