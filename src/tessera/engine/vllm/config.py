"""The options of the vLLM engine: plain values only, which cross a pipe as msgpack."""

from dataclasses import dataclass, field
from typing import Literal

Speculative = Literal["none", "mtp"]


@dataclass(frozen=True, slots=True)
class VllmOptions:
    """One model, and how vLLM computes it.

    `folder` has the model as Hugging Face's libraries write it. `home` is a folder for the kernels that vLLM
    compiles. `kv_cache_bytes` bounds keys and values on a processor; on GPUs they take what is left of
    `gpu_memory_utilization`. `precision` "f32" computes in float32. `threads` 0 uses every core. An `exact`
    engine gives the same tokens whatever else runs. `speculative` "mtp" drafts with the model's own
    prediction layers, and shares no prefixes. `arguments` are vLLM's own engine arguments, which win over
    ours. An engine that makes no step for `stall_s` while it has requests is taken for dead.
    """

    folder: str
    home: str
    kv_cache_bytes: int = 2**30
    precision: Literal["auto", "f32"] = "auto"
    threads: int = 0
    exact: bool = False
    speculative: Speculative = "none"
    arguments: dict[str, object] = field(default_factory=dict[str, object])
    stall_s: float = 120.0
