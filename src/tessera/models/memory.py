"""What a GGUF model needs of a machine, computed from its header before anything is fetched or loaded.

Decoding is bound by memory: a token takes as long as reading the weights that it uses (of a mixture of
experts, the share that is chosen), the keys and values before it, and the states, which are written as well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tessera.errors import ModelError
from tessera.models.header import GgufHeader
from tessera.models.layers import KvType, ModelLayers, read_layers

COMPUTE_BYTES = 2**29
"""For activations and logits, whose size is not in the header."""


@dataclass(frozen=True, slots=True)
class ModelNeeds:
    """`expert_share` is the part of the experts that is chosen for a token."""

    model: ModelLayers
    expert_share: float
    context_tokens: int

    def memory_bytes(self, kv_cache_bytes: int, state_bytes: int) -> int:
        """Everything, with these budgets; that of states counts for hybrid models only."""
        cells = kv_cache_bytes if self.model.cell_bytes("f16") else 0
        states = state_bytes if self.model.state_bytes else 0
        return self.model.weight_bytes + cells + states + COMPUTE_BYTES

    def experts_read(self) -> float:
        """Bytes of experts that one token reads."""
        return self.model.expert_bytes * self.expert_share

    def others_read(self, n_past: int, kv_type: KvType) -> int:
        """Bytes that one token reads or writes beside experts, after `n_past` others."""
        weights = self.model.weight_bytes - self.model.expert_bytes - self.model.table_bytes
        return weights + sum(layer.read_bytes(n_past, kv_type) for layer in self.model.layers)


@dataclass(frozen=True, slots=True)
class Budget:
    """The memory of a machine and of its GPUs, and what an engine's settings set aside of it."""

    machine_bytes: int
    kv_cache_bytes: int
    state_bytes: int = 0
    gpu_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        return self.machine_bytes + self.gpu_bytes


def measure_needs(parts: Sequence[GgufHeader]) -> ModelNeeds:
    """The needs of a model, from the headers of all parts of its file; the first has the key-value pairs."""
    n_experts, n_used, context_tokens = (
        found if isinstance(found, int) else 0
        for found in map(parts[0].of_architecture, ("expert_count", "expert_used_count", "context_length"))
    )
    return ModelNeeds(read_layers(parts), n_used / n_experts if n_experts else 1.0, context_tokens)


def check_fits(name: str, needs: ModelNeeds, budget: Budget, others: Mapping[str, int]) -> None:
    """Raises `ModelError` if the machine is too small, naming which of `others`, with the bytes of their
    weights, would fit.
    """
    needed = needs.memory_bytes(budget.kv_cache_bytes, budget.state_bytes)
    has, weights = budget.total_bytes, needs.model.weight_bytes
    if needed <= has:
        return
    rest = needed - weights
    smaller = [other for other, size in sorted(others.items(), key=_second) if size + rest <= has]
    if smaller:
        instead = f"{smaller[-1]} would fit" + (
            f", as would {', '.join(smaller[:-1])}." if smaller[1:] else "."
        )
    elif weights + COMPUTE_BYTES < has:
        left = has - weights - COMPUTE_BYTES
        instead = f"It would fit with {show_gib(left)} or less for kv_cache_bytes and state_bytes together."
    else:
        instead = "A model or a quantisation with fewer bytes is needed."
    on_gpus = f", {show_gib(budget.gpu_bytes)} of it on GPUs" if budget.gpu_bytes else ""
    raise ModelError(
        f"{name} needs {show_gib(needed)} of memory ({show_gib(weights)} of weights), and this "
        f"machine has {show_gib(has)}{on_gpus}. {instead}"
    )


def show_gib(n_bytes: float) -> str:
    """Such as 1.5 GiB."""
    return f"{n_bytes / 2**30:.1f} GiB"


def _second(pair: tuple[str, int]) -> int:
    return pair[1]
