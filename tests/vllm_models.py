"""Models in the form that vLLM reads, and vLLM's engine on them."""

import dataclasses
import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf.quants import dequantize
from numpy.typing import NDArray
from tests.hosted import ROOT, changed, vllm_python
from tests.tiny_model import Words, byte_words

from tessera.core.generation import EngineInfo
from tessera.engine.host.frames import Start
from tessera.engine.vllm.config import VllmOptions
from tessera.engine.vllm.files import SAFETENSORS
from tessera.engine.vllm.row import FACTORY, FEATURES
from tessera.models.embedded import EMBEDDED
from tessera.models.folder import read_folder
from tessera.models.source import ModelSource
from tessera.text.gguf import tokenizer_from_gguf

QWEN_WORDS = byte_words(tags_are_tokens=True)

_SERVED = ("tokenizer.json", "generation_config.json", "chat_template.jinja")
_OF_LAYERS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


# Several engines run at once; what is compiled for a model so small would take longer than its tests.
_ON_GPUS = {"gpu_memory_utilization": 0.2, "enforce_eager": True}


def vllm_start(source: ModelSource, vocabulary_size: int, home: Path, **fields: Any) -> Start:
    """The engine on a model, in float32 and one thread; `fields` as `changed` takes them."""
    options = VllmOptions(str(source.folder), str(home), precision="f32", threads=1, arguments=_ON_GPUS)
    served = EngineInfo(
        model_id=source.model_id,
        context_tokens=min(source.context_tokens, 4096),
        vocabulary_size=vocabulary_size,
        eos_token_ids=frozenset(source.eos_token_ids),
        features=FEATURES,
        max_sequences=8,
    )
    return changed(Start(FACTORY, served, dataclasses.asdict(options)), **fields)


def tiny_llama(folder: Path) -> ModelSource:
    """A llama of two small layers with random weights, which can be computed in float32."""
    folder.mkdir(exist_ok=True)
    _write_tokenizer(folder, QWEN_WORDS)
    width, heads, inner, n_tokens = 128, 2, 256, len(QWEN_WORDS.tokens)
    sizes = {
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": 2,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10_000.0,
        "vocab_size": n_tokens,
        "tie_word_embeddings": False,
        "eos_token_id": QWEN_WORDS.end,
        "bos_token_id": QWEN_WORDS.end,
    }
    _write_json(folder / "config.json", {**_LLAMA, **sizes})
    _write_json(folder / "generation_config.json", {"eos_token_id": QWEN_WORDS.end})
    chance = np.random.default_rng(0)

    def matrix(rows: int, columns: int, scale: float = 2.0) -> NDArray[np.float16]:
        return (chance.standard_normal((rows, columns)) * scale / np.sqrt(columns)).astype(np.float16)

    ones = np.ones(width, np.float16)
    tensors = {"model.embed_tokens.weight": matrix(n_tokens, width, 8), "model.norm.weight": ones}
    tensors["lm_head.weight"] = matrix(n_tokens, width)
    for layer in range(2):
        shapes = dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (width, width))
        shapes |= {"ffn_gate": (inner, width), "ffn_up": (inner, width), "ffn_down": (width, inner)}
        made = {name: matrix(*shape) for name, shape in shapes.items()}
        made |= {"attn_norm": ones, "ffn_norm": ones}
        tensors |= {f"model.layers.{layer}.{_OF_LAYERS[name]}.weight": each for name, each in made.items()}
    write_safetensors(folder / "model.safetensors", tensors)
    return read_folder(folder, "tiny-llama", SAFETENSORS)


_LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "torch_dtype": "float16",
}


def tiny_qwen36(folder: Path) -> ModelSource:
    """A Qwen3.6 of four small layers with random weights, made by transformers, and a vocabulary of bytes.

    vLLM computes its linear attention on processors in bfloat16 only.
    """
    folder.mkdir(exist_ok=True)
    _write_tokenizer(folder, QWEN_WORDS)
    subprocess.run(
        [
            vllm_python(),
            ROOT / "tests/tiny_qwen36.py",
            folder,
            str(len(QWEN_WORDS.tokens)),
            str(QWEN_WORDS.end),
        ],
        check=True,
        capture_output=True,
    )
    return read_folder(folder, "tiny-qwen36", SAFETENSORS)


def _write_tokenizer(folder: Path, words: Words) -> None:
    fields = {
        "model": "gpt2",
        "pre": words.pre,
        "tokens": words.tokens,
        "token_type": words.types,
        "merges": words.merges,
    }
    tokenizer = tokenizer_from_gguf({f"tokenizer.ggml.{name}": value for name, value in fields.items()})
    (folder / "tokenizer.json").write_text(tokenizer.to_str())
    _write_json(folder / "tokenizer_config.json", {**_FAST, "eos_token": words.tokens[words.end]})


_FAST = {"tokenizer_class": "PreTrainedTokenizerFast"}


def embedded_in_hf_form(embedded: ModelSource, folder: Path) -> ModelSource:
    """The embedded model with its quantised weights written out, as a llama of the transformers library."""
    folder.mkdir(exist_ok=True)
    reader = gguf.GGUFReader(embedded.folder / Path(EMBEDDED.member).name)
    for name in _SERVED:
        shutil.copy(embedded.folder / name, folder / name)
    tokenizer = json.loads((embedded.folder / "tokenizer_config.json").read_text())
    _write_json(folder / "tokenizer_config.json", {**tokenizer, **_FAST})
    config = _llama_config(reader)
    _write_json(folder / "config.json", config)
    write_safetensors(folder / "model.safetensors", _llama_tensors(reader, config))
    return read_folder(folder, embedded.model_id, SAFETENSORS)


def _llama_config(reader: gguf.GGUFReader) -> dict[str, Any]:
    def of(name: str) -> Any:
        field = reader.get_field(f"llama.{name}")
        assert field is not None
        return field.contents()

    return {
        **_LLAMA,
        "hidden_size": of("embedding_length"),
        "intermediate_size": of("feed_forward_length"),
        "num_hidden_layers": of("block_count"),
        "num_attention_heads": of("attention.head_count"),
        "num_key_value_heads": of("attention.head_count_kv"),
        "max_position_embeddings": of("context_length"),
        "rms_norm_eps": of("attention.layer_norm_rms_epsilon"),
        "rope_theta": of("rope.freq_base"),
        "vocab_size": of("vocab_size"),
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


def _llama_tensors(reader: gguf.GGUFReader, config: Mapping[str, Any]) -> dict[str, NDArray[np.float16]]:
    made: dict[str, NDArray[np.float16]] = {}
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type)
        parts = tensor.name.removesuffix(".weight").split(".")
        match parts:
            case ["blk", layer, "attn_q"]:
                values = _halves_together(values, config["num_attention_heads"])
            case ["blk", layer, "attn_k"]:
                values = _halves_together(values, config["num_key_value_heads"])
            case _:
                pass
        match parts:
            case ["blk", layer, name]:
                name = f"model.layers.{layer}.{_OF_LAYERS[name]}"
            case ["token_embd"]:
                name = "model.embed_tokens"
            case ["output_norm"]:
                name = "model.norm"
            case _:
                raise AssertionError(tensor.name)
        made[f"{name}.weight"] = values.astype(np.float16)
    return made


def _halves_together(values: NDArray[Any], n_heads: int) -> NDArray[Any]:
    """Reorders rows that are rotated together: they are neighbours in GGUF files, and halves apart in
    transformers.
    """
    pairs = values.reshape(n_heads, -1, 2, values.shape[1])
    return pairs.swapaxes(1, 2).reshape(values.shape)


def write_safetensors(path: Path, tensors: Mapping[str, NDArray[np.float16]]) -> None:
    header: dict[str, Any] = {}
    end = 0
    for name, values in tensors.items():
        header[name] = {"dtype": "F16", "shape": values.shape, "data_offsets": [end, end + values.nbytes]}
        end += values.nbytes
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for values in tensors.values():
            file.write(np.ascontiguousarray(values).tobytes())


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value))


if __name__ == "__main__":
    from tessera.engine.openvino.convert import IR
    from tessera.models.cache import Cache, default_root
    from tessera.models.progress import Quiet
    from tessera.models.resolve import resolve

    root = Path(sys.argv[1])
    root.mkdir(parents=True, exist_ok=True)
    tiny_qwen36(root / "tiny-qwen36")
    embedded_in_hf_form(resolve(None, Cache(default_root()), Quiet(), IR), root / "smollm2")
