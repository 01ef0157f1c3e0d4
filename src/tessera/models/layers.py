"""The layers of a GGUF model, read once from its header: what each takes of memory, as llama.cpp lays it out.

Whether a layer attends, or has a recurrent state, or both, is seen by its tensors; how much it keeps follows
from the key-value pairs. Layers that predict further tokens are not loaded, and do not count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from tessera.models.header import GgufHeader

KvType = Literal["f16", "q8_0"]
_KV_BYTES: Mapping[KvType, float] = {"f16": 2, "q8_0": 34 / 32}
_STATE_VALUE_BYTES = 4

_RECURRENT = ("ssm_", "shortconv.", "time_mix_")
"""How the tensors of layers with a recurrent state begin."""
_TABLES = frozenset({"token_embd.weight", "per_layer_token_embd.weight"})
"""Of these a token reads one row."""
# Every so many layers one has full attention, where the file does not say it itself.
_NO_WINDOW_EVERY = {"gemma2": 2, "gemma3": 6, "gemma3n": 5, "gpt-oss": 2, "cohere2": 4, "exaone4": 4}


@dataclass(frozen=True, slots=True)
class Layer:
    """`expert_bytes` are part of the weights. Of each token, attention keeps `kv_values` numbers, and looks
    back `window` tokens, 0 for all of them; the engine keeps those outside of the window, too, as prefixes
    are shared. Of each sequence, the layer keeps `state_values` numbers, however long it is.
    """

    weight_bytes: int
    expert_bytes: int = 0
    kv_values: int = 0
    window: int = 0
    state_values: int = 0

    def cell_bytes(self, kv_type: KvType) -> int:
        """Of one token in the cache."""
        return int(self.kv_values * _KV_BYTES[kv_type])

    @property
    def state_bytes(self) -> int:
        return self.state_values * _STATE_VALUE_BYTES

    def read_bytes(self, n_past: int, kv_type: KvType) -> int:
        """What a token reads and writes beside weights, after `n_past` others; the state is written, too."""
        n_seen = min(n_past, self.window or n_past)
        return n_seen * self.cell_bytes(kv_type) + 2 * self.state_bytes


@dataclass(frozen=True, slots=True)
class ModelLayers:
    """`other_bytes` are the weights outside of layers; of `table_bytes` of them a token reads one row."""

    layers: tuple[Layer, ...]
    other_bytes: int
    table_bytes: int = 0

    @property
    def weight_bytes(self) -> int:
        return self.other_bytes + sum(layer.weight_bytes for layer in self.layers)

    @property
    def expert_bytes(self) -> int:
        return sum(layer.expert_bytes for layer in self.layers)

    @property
    def state_bytes(self) -> int:
        """A sequence's recurrent state in all layers."""
        return sum(layer.state_bytes for layer in self.layers)

    def cell_bytes(self, kv_type: KvType) -> int:
        """A token's keys and values in all layers."""
        return sum(layer.cell_bytes(kv_type) for layer in self.layers)


def read_layers(parts: Sequence[GgufHeader]) -> ModelLayers:
    """The layers of the model whose parts have these headers; the first has the key-value pairs."""
    shape = _Shape(parts[0])
    layers: list[dict[str, int]] = [{} for _ in range(shape.n_layers)]
    others: dict[str, int] = {}
    for tensor in (tensor for part in parts for tensor in part.tensors):
        index, name = _place(tensor.name)
        if index is None:
            others[name] = tensor.size_bytes
        elif index < len(layers):
            layers[index][name] = tensor.size_bytes
    # Without a tensor of its own, the output layer is the table of embeddings once more.
    tables = _TABLES if "output.weight" in others else _TABLES - {"token_embd.weight"}
    return ModelLayers(
        layers=tuple(_layer(index, tensors, shape) for index, tensors in enumerate(layers)),
        other_bytes=sum(others.values()),
        table_bytes=sum(n_bytes for name, n_bytes in others.items() if name in tables),
    )


def _place(name: str) -> tuple[int | None, str]:
    """The number of a tensor's layer and its name there; no number if it belongs to none."""
    prefix, _, rest = name.partition(".")
    number, _, own = rest.partition(".")
    return (int(number), own) if prefix == "blk" and number.isdecimal() else (None, name)


def _layer(index: int, tensors: Mapping[str, int], shape: "_Shape") -> Layer:
    is_recurrent = any(name.startswith(_RECURRENT) for name in tensors)
    attends = "attn_k.weight" in tensors or not is_recurrent
    return Layer(
        weight_bytes=sum(tensors.values()),
        expert_bytes=sum(n_bytes for name, n_bytes in tensors.items() if "_exps." in name),
        kv_values=shape.kv_values(index) if attends else 0,
        window=shape.window(index) if attends else 0,
        state_values=shape.state_values() if is_recurrent else 0,
    )


class _Shape:
    """Sizes by the keys of the header, which name the architecture first."""

    def __init__(self, header: GgufHeader) -> None:
        self._header = header
        self.n_layers = self._number("block_count") - self._number("nextn_predict_layers")

    def kv_values(self, layer: int) -> int:
        """How many numbers attention keeps of a token."""
        if layer >= self.n_layers - self._number("attention.shared_kv_layers"):
            return 0  # it looks at those of an earlier layer
        n_heads = self._number("attention.head_count", layer=layer)
        head = self._number("embedding_length") // max(1, n_heads)
        key, value = (self._head("key", layer) or head, self._head("value", layer) or head)
        n_kept = self._number("attention.head_count_kv", n_heads, layer=layer)
        # The values of latent attention are read from its keys.
        return n_kept * (key if self._number("attention.key_length_mla") else key + value)

    def window(self, layer: int) -> int:
        pattern = self._header.of_architecture("attention.sliding_window_pattern")
        every = _NO_WINDOW_EVERY.get(self._header.architecture, 1)
        if isinstance(pattern, list):
            is_windowed = bool(self._number("attention.sliding_window_pattern", layer=layer))
        else:
            is_windowed = (layer + 1) % (pattern if isinstance(pattern, int) and pattern else every) != 0
        return self._number("attention.sliding_window") if is_windowed else 0

    def state_values(self) -> int:
        """How many numbers a recurrent layer keeps of a sequence: its last inputs, and its state."""
        width, n_heads = self._number("embedding_length"), self._number("attention.head_count")
        if head := self._number("wkv.head_size"):
            return width * (self._number("token_shift_count", 2) + head)
        if n_kept := self._number("shortconv.l_cache"):
            return width * (n_kept - 1)
        n_inputs = max(0, self._number("ssm.conv_kernel") - 1)
        if head := self._number("kda.head_dim"):
            return n_heads * (3 * n_inputs * head + head * head)
        inner, state = self._number("ssm.inner_size"), self._number("ssm.state_size")
        return n_inputs * (inner + 2 * self._number("ssm.group_count") * state) + inner * state

    def _head(self, kind: str, layer: int) -> int:
        """The width of a head's key or value, which may be another in layers with a window."""
        own = f"attention.{kind}_length"
        return (self.window(layer) and self._number(f"{own}_swa")) or self._number(own)

    def _number(self, key: str, default: int = 0, *, layer: int = 0) -> int:
        """A value of the header, for that layer if there is one for each."""
        found = self._header.of_architecture(key)
        if isinstance(found, list):
            each = cast("list[object]", found)
            found = each[layer] if layer < len(each) else 0
        return int(found) if isinstance(found, int) else default
