"""What a GGUF model needs of a machine, computed from its header before anything is fetched or loaded.

The weights are as large as the file says. A token of the KV cache takes a key and a value in each layer with
attention; the engine keeps all tokens of layers with a sliding window, too, as prefixes are shared. Layers of
hybrid models without attention have a state for each sequence, whatever its length.

Decoding is bound by memory: a token takes as long as reading the weights that it uses (of a mixture of
experts, the share that is chosen), the keys and values before it, and the states, which are written as well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from tessera.errors import ModelError
from tessera.models.header import GgufHeader, Tensor

KvType = Literal["f16", "q8_0"]
KV_BYTES: Mapping[KvType, float] = {"f16": 2, "q8_0": 34 / 32}
STATE_VALUE_BYTES = 4
COMPUTE_BYTES = 2**29
"""For activations and logits, which the header does not tell."""

# Every so many layers one has full attention, where the file does not say it itself.
_FULL_ATTENTION_EVERY = {"qwen3next": 4, "qwen35": 4, "qwen35moe": 4}
_NO_WINDOW_EVERY = {"gemma2": 2, "gemma3": 6, "gemma3n": 5, "gpt-oss": 2, "cohere2": 4, "exaone4": 4}


@dataclass(frozen=True, slots=True)
class ModelNeeds:
    """Bytes, in all layers together. `kv_values` is how many numbers a token of the KV cache has, of them
    `windowed_kv_values` in layers that look back `window` tokens only.
    """

    weights_bytes: int
    dense_bytes: int
    expert_bytes: int
    expert_share: float
    kv_values: int
    windowed_kv_values: int
    window: int
    state_bytes: int
    context_tokens: int

    def kv_bytes(self, kv_type: KvType) -> float:
        """Of one token in the cache."""
        return self.kv_values * KV_BYTES[kv_type]

    def memory_bytes(self, kv_cache_bytes: int, state_bytes: int) -> int:
        """Everything, with these budgets; that of states counts for hybrid models only."""
        states = state_bytes if self.state_bytes else 0
        return self.weights_bytes + (kv_cache_bytes if self.kv_values else 0) + states + COMPUTE_BYTES

    def experts_read(self) -> float:
        """Bytes of experts that one token reads."""
        return self.expert_bytes * self.expert_share

    def others_read(self, n_past: int, kv_type: KvType) -> float:
        """Bytes that one token reads or writes beside experts, after `n_past` others."""
        looked_at = (self.kv_values - self.windowed_kv_values) * n_past
        looked_at += self.windowed_kv_values * min(n_past, self.window)
        return self.dense_bytes + looked_at * KV_BYTES[kv_type] + 2 * self.state_bytes


@dataclass(frozen=True, slots=True)
class Budget:
    """The memory of a machine, and what an engine's settings set aside of it."""

    machine_bytes: int
    kv_cache_bytes: int
    state_bytes: int = 0


def measure_needs(parts: Sequence[GgufHeader]) -> ModelNeeds:
    """The needs of a model, from the headers of all parts of its file; the first has the key-value pairs."""
    first = parts[0]
    n_layers = _number(first, "block_count") - _number(first, "nextn_predict_layers")
    tensors = [tensor for part in parts for tensor in part.tensors if _layer(tensor) < n_layers]
    names = {tensor.name for tensor in tensors}
    experts = sum(tensor.size_bytes for tensor in tensors if _is_expert(tensor))
    # The output layer may be the embeddings once more; otherwise a token reads one row of them.
    looked_up = {"per_layer_token_embd.weight"}
    if "output.weight" in names:
        looked_up.add("token_embd.weight")
    dense = sum(t.size_bytes for t in tensors if t.name not in looked_up and not _is_expert(t))
    n_experts = _number(first, "expert_count")
    kv_layers = _kv_layers(first, n_layers)
    windowed = _windowed(first, n_layers)
    values = _number(first, "attention.key_length", _head_size(first))
    values += _number(first, "attention.value_length", _head_size(first))
    return ModelNeeds(
        weights_bytes=sum(tensor.size_bytes for tensor in tensors),
        dense_bytes=dense,
        expert_bytes=experts,
        expert_share=_number(first, "expert_used_count") / n_experts if n_experts else 1.0,
        kv_values=values * sum(kv_layers),
        windowed_kv_values=values
        * sum(n for n, is_windowed in zip(kv_layers, windowed, strict=True) if is_windowed),
        window=_number(first, "attention.sliding_window"),
        state_bytes=_state_bytes(first, sum(n == 0 for n in kv_layers)),
        context_tokens=_number(first, "context_length"),
    )


def check_fits(name: str, needs: ModelNeeds, budget: Budget, others: Mapping[str, int]) -> None:
    """Raises `ModelError` if the machine is too small, naming which of `others`, with the bytes of their
    weights, would fit.
    """
    needed = needs.memory_bytes(budget.kv_cache_bytes, budget.state_bytes)
    if needed <= budget.machine_bytes:
        return
    rest = needed - needs.weights_bytes
    smaller = [
        other for other, size in sorted(others.items(), key=_second) if size + rest <= budget.machine_bytes
    ]
    if smaller:
        instead = f"{smaller[-1]} would fit" + (
            f", as would {', '.join(smaller[:-1])}." if smaller[1:] else "."
        )
    elif needs.weights_bytes + COMPUTE_BYTES < budget.machine_bytes:
        left = budget.machine_bytes - needs.weights_bytes - COMPUTE_BYTES
        instead = f"It would fit with {show_gib(left)} or less for kv_cache_bytes and state_bytes together."
    else:
        instead = "A model or a quantisation with fewer bytes is needed."
    raise ModelError(
        f"{name} needs {show_gib(needed)} of memory ({show_gib(needs.weights_bytes)} of weights), and this "
        f"machine has {show_gib(budget.machine_bytes)}. {instead}"
    )


def show_gib(n_bytes: float) -> str:
    """Such as 1.5 GiB."""
    return f"{n_bytes / 2**30:.1f} GiB"


def _second(pair: tuple[str, int]) -> int:
    return pair[1]


def _number(header: GgufHeader, key: str, default: int = 0) -> int:
    found = header.of_architecture(key)
    return int(found) if isinstance(found, int) else default


def _each(header: GgufHeader, key: str, n_layers: int) -> list[int]:
    """A number for each layer; the file may have one for all."""
    found = header.of_architecture(key)
    if isinstance(found, list):
        numbers = [int(cast("int", number)) for number in cast("list[object]", found)[:n_layers]]
        return numbers + [0] * (n_layers - len(numbers))
    return [found if isinstance(found, int) else 0] * n_layers


def _head_size(header: GgufHeader) -> int:
    n_heads = max(_each(header, "attention.head_count", 1)[0], 1)
    return _number(header, "embedding_length") // n_heads


def _kv_layers(header: GgufHeader, n_layers: int) -> list[int]:
    """The heads of keys and values in each layer; 0 where it has a state in place of them."""
    key = "attention.head_count_kv"
    n_heads = _each(
        header, key if header.of_architecture(key) is not None else "attention.head_count", n_layers
    )
    every = _number(header, "full_attention_interval", _FULL_ATTENTION_EVERY.get(header.architecture, 1))
    return [n if (layer + 1) % every == 0 else 0 for layer, n in enumerate(n_heads)]


def _windowed(header: GgufHeader, n_layers: int) -> list[bool]:
    """Whether each layer looks back a window of tokens only."""
    if not _number(header, "attention.sliding_window"):
        return [False] * n_layers
    pattern = header.of_architecture("attention.sliding_window_pattern")
    if isinstance(pattern, list):
        return [bool(windowed) for windowed in _each(header, "attention.sliding_window_pattern", n_layers)]
    every = pattern if isinstance(pattern, int) else _NO_WINDOW_EVERY.get(header.architecture)
    return [every is not None and (layer + 1) % every != 0 for layer in range(n_layers)]


def _state_bytes(header: GgufHeader, n_layers: int) -> int:
    """Of one sequence in the layers without attention, as llama.cpp lays them out."""
    inner, size = _number(header, "ssm.inner_size"), _number(header, "ssm.state_size")
    convolved = inner + 2 * _number(header, "ssm.group_count") * size
    short = max(_number(header, "shortconv.l_cache") - 1, 0) * _number(header, "embedding_length")
    kept = max(_number(header, "ssm.conv_kernel") - 1, 0) * convolved + short
    return n_layers * (kept + inner * size) * STATE_VALUE_BYTES


def _is_expert(tensor: Tensor) -> bool:
    return "_exps." in tensor.name


def _layer(tensor: Tensor) -> int:
    """The number of the tensor's layer, -1 if it belongs to none."""
    begin, _, rest = tensor.name.partition(".")
    number = rest.partition(".")[0]
    return int(number) if begin == "blk" and number.isdecimal() else -1
