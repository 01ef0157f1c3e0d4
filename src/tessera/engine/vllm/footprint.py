"""What a model in Hugging Face's form needs of memory, from its configuration and the headers of its weights.

A safetensors file begins with the length of its header, eight bytes, little-endian, and the header, in JSON:
for each tensor its type and the two offsets between which it lies.
"""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from tessera.errors import ModelError

WEIGHTS = "*.safetensors"
_INDEX = "model.safetensors.index.json"
_MOST_HEADER_BYTES = 2**27
_STATE_VALUE_BYTES = 4  # of the recurrent part, which vLLM keeps in float32
_HALVES = ("BF16", "F16")


@dataclass(frozen=True, slots=True)
class HfFootprint:
    """Bytes, in all layers together. `half_bytes` are those of the weights in 16 bits, which take twice as
    much in float32; `draft_bytes` are in the layers that draft. `kv_values` is how many numbers a token of
    the KV cache has, in `kv_heads` heads of each layer.
    """

    weights_bytes: int
    half_bytes: int
    draft_bytes: int
    kv_values: int
    kv_heads: int
    state_bytes: int


class _Tensor(msgspec.Struct):
    dtype: str
    data_offsets: tuple[int, int]


class _Index(msgspec.Struct):
    """Which file each tensor is in."""

    weight_map: dict[str, str] = {}


class _Model(msgspec.Struct):
    """What is read of config.json. Fields that a model lacks are 0."""

    num_hidden_layers: int = 0
    num_attention_heads: int = 1
    num_key_value_heads: int = 0
    hidden_size: int = 0
    head_dim: int = 0
    layer_types: list[str] = []
    linear_num_key_heads: int = 0
    linear_num_value_heads: int = 0
    linear_key_head_dim: int = 0
    linear_value_head_dim: int = 0
    linear_conv_kernel_dim: int = 0


class _ModelConfig(_Model):
    text_config: _Model | None = None


def footprint(folder: Path) -> HfFootprint:
    """The needs of the model in that folder; raises `ModelError`, also if weights are missing or cut
    short.
    """
    model = _model(folder)
    paths = sorted(folder.glob(WEIGHTS))
    if missing := sorted(_named_in_index(folder) - {path.name for path in paths}):
        raise ModelError(f"{folder} lacks {', '.join(missing[:3])}, which {_INDEX} names: fetch it again.")
    sizes = [pair for path in paths for pair in _tensors(path)]
    served = [(name, each) for name, each in sizes if "visual." not in name]
    body = [each for name, each in served if not name.startswith("mtp.")]
    n_linear = model.layer_types.count("linear_attention")
    n_layers = len(model.layer_types) or model.num_hidden_layers
    kv_heads = model.num_key_value_heads or model.num_attention_heads
    head_dim = model.head_dim or model.hidden_size // model.num_attention_heads
    return HfFootprint(
        weights_bytes=sum(map(_size, body)),
        half_bytes=sum(_size(each) for each in body if each.dtype in _HALVES),
        draft_bytes=sum(_size(each) for name, each in served if name.startswith("mtp.")),
        kv_values=2 * kv_heads * head_dim * (n_layers - n_linear),
        kv_heads=kv_heads,
        state_bytes=n_linear * _state_bytes(model),
    )


def _model(folder: Path) -> _Model:
    try:
        config = msgspec.json.decode((folder / "config.json").read_bytes(), type=_ModelConfig)
    except (OSError, msgspec.MsgspecError) as error:
        raise ModelError(f"{folder / 'config.json'} cannot be read: {error}") from error
    return config.text_config or config


def _named_in_index(folder: Path) -> set[str]:
    """The files of a model that has several; none if it has no index."""
    path = folder / _INDEX
    try:
        return {*msgspec.json.decode(path.read_bytes(), type=_Index).weight_map.values()}
    except FileNotFoundError:
        return set()
    except (OSError, msgspec.MsgspecError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error


def _state_bytes(model: _Model) -> int:
    """Of one sequence in one layer of linear attention: its matrices, and the last inputs of the
    convolution.
    """
    keys = model.linear_num_key_heads * model.linear_key_head_dim
    values = model.linear_num_value_heads * model.linear_value_head_dim
    kept = max(model.linear_conv_kernel_dim - 1, 0) * (2 * keys + values)
    return _STATE_VALUE_BYTES * values * model.linear_key_head_dim + 2 * kept


def _tensors(path: Path) -> list[tuple[str, _Tensor]]:
    try:
        with path.open("rb") as file:
            n_bytes = int.from_bytes(file.read(8), "little")
            if n_bytes > _MOST_HEADER_BYTES:
                raise ModelError(f"{path} is no safetensors file: its header would have {n_bytes} bytes.")
            header = msgspec.json.decode(file.read(n_bytes), type=dict[str, msgspec.Raw])
        raws = {name: raw for name, raw in header.items() if name != "__metadata__"}
        found = [(name, msgspec.json.decode(raw, type=_Tensor)) for name, raw in raws.items()]
        n_missing = max((each.data_offsets[1] for _, each in found), default=0) + 8 + n_bytes
        n_missing -= path.stat().st_size
    except (OSError, msgspec.MsgspecError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
    if n_missing > 0:
        raise ModelError(f"{path} is cut short: its last {n_missing} bytes are missing. Fetch it again.")
    return found


def _size(tensor: _Tensor) -> int:
    return tensor.data_offsets[1] - tensor.data_offsets[0]
