import json
from pathlib import Path

import numpy as np
import pytest
from tests.vllm_models import write_safetensors

from tessera.engine.vllm.footprint import footprint
from tessera.errors import ModelError

QWEN36 = {
    "num_hidden_layers": 40,
    "layer_types": (["linear_attention"] * 3 + ["full_attention"]) * 10,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "head_dim": 256,
    "hidden_size": 2048,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_conv_kernel_dim": 4,
}


def write(folder: Path, config: object, **n_values: int) -> Path:
    """Writes a model. Its tensors, named with __ for a dot, have so many numbers of 16 bits."""
    (folder / "config.json").write_text(json.dumps(config))
    tensors = {name.replace("__", "."): np.zeros(n, np.float16) for name, n in n_values.items()}
    write_safetensors(folder / "model-1.safetensors", tensors)
    return folder


def test_the_shapes_of_qwen36_take_what_is_documented(tmp_path: Path) -> None:
    found = footprint(write(tmp_path, {"text_config": QWEN36}))
    assert 2 * found.kv_values == 20 * 2**10
    assert round(found.state_bytes / 2**20) == 61
    assert found.kv_heads == 2


def test_weights_that_are_not_served_do_not_count(tmp_path: Path) -> None:
    sizes = {"model__layers__0": 10, "model__visual__x": 1000, "mtp__fc": 7, "lm_head": 5}
    found = footprint(write(tmp_path, QWEN36, **sizes))
    assert (found.weights_bytes, found.half_bytes, found.draft_bytes) == (30, 30, 14)


def test_a_model_with_attention_only_has_no_state(tmp_path: Path) -> None:
    config = {"num_hidden_layers": 4, "num_attention_heads": 8, "hidden_size": 64}
    found = footprint(write(tmp_path, config))
    assert found.state_bytes == 0
    assert found.kv_values == 2 * 4 * 8 * 8


@pytest.mark.parametrize("content", [b"", b"\xff" * 16, b"\x04\0\0\0\0\0\0\0nope"])
def test_a_broken_file_is_named(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, QWEN36)
    (tmp_path / "model-2.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=r"model-2\.safetensors"):
        footprint(tmp_path)


def test_a_file_that_is_cut_short_is_named(tmp_path: Path) -> None:
    write(tmp_path, QWEN36, lm_head=5)
    path = tmp_path / "model-1.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ModelError, match=r"model-1\.safetensors is cut short: its last 3 bytes are missing"):
        footprint(tmp_path)


def test_a_file_that_the_index_names_must_be_there(tmp_path: Path) -> None:
    write(tmp_path, QWEN36, lm_head=5)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"lm_head": "model-1.safetensors"}}))
    assert footprint(tmp_path).weights_bytes == 10
    index.write_text(
        json.dumps({"weight_map": {"lm_head": "model-1.safetensors", "x": "model-2.safetensors"}})
    )
    with pytest.raises(
        ModelError, match=r"lacks model-2\.safetensors, which model\.safetensors\.index\.json"
    ):
        footprint(tmp_path)
    index.write_text("nothing")
    with pytest.raises(ModelError, match=r"index\.json cannot be read"):
        footprint(tmp_path)
