"""What a model will take of memory, before any of it is loaded.

Weights are counted from the file. Cells and states follow from the shapes of the layers; the engine counts
them exactly once the model is there.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from tessera.models.header import GgufHeader
from tessera.models.memory import KV_BYTES, STATE_VALUE_BYTES, KvType

_LAYER = re.compile(r"blk\.(\d+)\.(.+)")
_EXPERTS = re.compile(r"ffn_(up|down|gate|gate_up)_(ch|)exps\b")


@dataclass(frozen=True, slots=True)
class Layer:
    """What a layer takes. `expert_bytes` are part of the weights; a token has a cell, a sequence a state."""

    weight_bytes: int
    expert_bytes: int
    cell_bytes: int
    state_bytes: int


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a model takes. `other_bytes` are the weights outside of layers."""

    layers: tuple[Layer, ...]
    other_bytes: int

    @property
    def weight_bytes(self) -> int:
        return self.other_bytes + sum(layer.weight_bytes for layer in self.layers)

    @property
    def cell_bytes(self) -> int:
        """A token's keys and values in all layers."""
        return sum(layer.cell_bytes for layer in self.layers)

    @property
    def state_bytes(self) -> int:
        """A sequence's recurrent state in all layers."""
        return sum(layer.state_bytes for layer in self.layers)


def footprint(parts: Sequence[GgufHeader], kv_type: KvType) -> Footprint:
    """What the model takes whose parts have these headers."""
    layers: dict[int, dict[str, int]] = {}
    other = 0
    for tensor in (tensor for part in parts for tensor in part.tensors):
        if found := _LAYER.fullmatch(tensor.name):
            layers.setdefault(int(found[1]), {})[found[2]] = tensor.size_bytes
        else:
            other += tensor.size_bytes
    shape = _Shape(parts[0])
    return Footprint(
        tuple(_layer(index, tensors, shape, kv_type) for index, tensors in sorted(layers.items())), other
    )


def _layer(index: int, tensors: dict[str, int], shape: "_Shape", kv_type: KvType) -> Layer:
    recurrent = any(name.startswith("ssm_") for name in tensors)
    attends = "attn_k.weight" in tensors or not recurrent
    return Layer(
        weight_bytes=sum(tensors.values()),
        expert_bytes=sum(n_bytes for name, n_bytes in tensors.items() if _EXPERTS.match(name)),
        cell_bytes=int(shape.kept_values(index) * KV_BYTES[kv_type]) if attends else 0,
        state_bytes=shape.state_values() * STATE_VALUE_BYTES if recurrent else 0,
    )


class _Shape:
    """Sizes by the keys of the header, which name the architecture first."""

    def __init__(self, header: GgufHeader) -> None:
        self._header = header

    def kept_values(self, layer: int) -> int:
        """How many values attention keeps of a token."""
        if rank := self._number("attention.kv_lora_rank"):
            return 2 * rank + self._number("rope.dimension_count")
        heads = self._number("attention.head_count", layer=layer) or 1
        head = self._number("embedding_length") // heads
        key = self._number("attention.key_length") or head
        value = self._number("attention.value_length") or head
        return (self._number("attention.head_count_kv", layer=layer) or heads) * (key + value)

    def state_values(self) -> int:
        """How many values a recurrent layer keeps of a sequence: its last inputs, and its state."""
        inner, state = self._number("ssm.inner_size"), self._number("ssm.state_size")
        inputs = inner + 2 * self._number("ssm.group_count") * state
        return max(0, self._number("ssm.conv_kernel") - 1) * inputs + inner * state

    def _number(self, key: str, layer: int = 0) -> int:
        found = self._header.of_architecture(key)
        if isinstance(found, list):
            by_layer = cast("list[object]", found)
            found = by_layer[min(layer, len(by_layer) - 1)] if by_layer else 0
        return found if isinstance(found, int) else 0
