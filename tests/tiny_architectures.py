"""Language models of random weights as GGUF files, of the architectures that llama.cpp alone computes.

Names and keys are those that llama.cpp's converter writes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Literal

import gguf
import numpy as np
from gguf.quants import quantize
from tests.tiny_model import Words

Architecture = Literal[
    "llama", "qwen3", "qwen3moe", "gemma3", "gpt-oss", "mistral3", "deepseek2", "qwen35", "qwen35moe"
]
ARCHITECTURES: tuple[Architecture, ...] = (
    *("llama", "qwen3", "qwen3moe", "gemma3", "gpt-oss", "mistral3", "deepseek2"),
    *("qwen35", "qwen35moe"),
)
HYBRID: tuple[Architecture, ...] = ("qwen35", "qwen35moe")
MIXTURES: tuple[Architecture, ...] = ("qwen3moe", "gpt-oss", "qwen35moe")
WINDOWED: tuple[Architecture, ...] = ("gemma3", "gpt-oss")

CONTEXT, WINDOW = 4096, 40
RANK, ROTATED, PLAIN = 64, 32, 32
"""Of latent attention: the width of what is kept, and the two parts of a head's key."""


@dataclass(frozen=True)
class Shape:
    """The sizes of a model: `head` is the width of a head, `inner` that of a feed-forward layer. Layers with
    recurrent states have `key_heads` and `value_heads` of the width `state`.
    """

    width: int = 256
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    head: int = 64
    inner: int = 512
    key_heads: int = 2
    value_heads: int = 4
    state: int = 64
    experts: int = 8
    used: int = 2
    expert_inner: int = 256
    context: int = CONTEXT


TINY = Shape()


@dataclass(frozen=True)
class _Normal:
    """A tensor of normally distributed values."""

    shape: tuple[int, ...]
    scale: float
    mean: float = 0.0

    def draw(self, chance: np.random.Generator) -> np.ndarray:
        return (chance.standard_normal(self.shape) * self.scale + self.mean).astype(np.float32)

    def draw_q4_0(self, chance: np.random.Generator) -> np.ndarray:
        """Draws blocks of 32 values, a scale and four bits for each, without an array of 32-bit values."""
        blocks = np.empty((prod(self.shape) // 32, 18), np.uint8)
        blocks[:, :2] = np.array([self.scale / 4.6], np.float16).view(np.uint8)
        blocks[:, 2:] = chance.integers(0, 256, (len(blocks), 16), dtype=np.uint8)
        return blocks.reshape(*self.shape[:-1], -1)


_Parts = dict[str, _Normal]


def _matrix(*shape: int, scale: float | None = None) -> _Normal:
    return _Normal(shape, scale or shape[-1] ** -0.5)


def _vector(n: int, scale: float = 0.1, mean: float = 1.0) -> _Normal:
    return _Normal((n,), scale, mean)


def write_architecture(
    path: Path,
    architecture: Architecture,
    words: Words,
    seed: int = 0,
    *,
    shape: Shape = TINY,
    template: str | None = None,
    quick: bool = False,
) -> None:
    """Writes the model; its weights depend only on `seed`. A `quick` one has matrices of Q4_0 instead of
    Q8_0, so that gigabytes take seconds.
    """
    writer = gguf.GGUFWriter(path, architecture)
    _add_sizes(writer, architecture, shape)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0 if quick else gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(2)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(words.pre)
    writer.add_token_list(words.tokens)
    writer.add_token_types(words.types)
    writer.add_token_merges(words.merges)
    writer.add_eos_token_id(words.end)
    if template:
        writer.add_chat_template(template)
    chance = np.random.default_rng(seed)
    for name, tensor in _tensors(architecture, len(words.tokens), shape):
        if len(tensor.shape) == 1 or name.endswith(".bias") or "conv1d" in name or "gate_inp" in name:
            writer.add_tensor(name, tensor.draw(chance))
        elif quick:
            writer.add_tensor(name, tensor.draw_q4_0(chance), raw_dtype=gguf.GGMLQuantizationType.Q4_0)
        else:
            quantized = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, quantize(tensor.draw(chance), quantized), raw_dtype=quantized)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_sizes(writer: gguf.GGUFWriter, architecture: Architecture, shape: Shape) -> None:
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_head_count(shape.heads)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    if architecture == "deepseek2":
        _add_latent_sizes(writer, shape)
    else:
        writer.add_head_count_kv(shape.kv_heads)
        writer.add_key_length(shape.head)
        writer.add_value_length(shape.head)
        writer.add_rope_dimension_count(shape.head // 4 if architecture in HYBRID else shape.head)
    if architecture in MIXTURES:
        writer.add_expert_count(shape.experts)
        writer.add_expert_used_count(shape.used)
        writer.add_expert_feed_forward_length(shape.expert_inner)
    else:
        writer.add_feed_forward_length(shape.inner)
    if architecture in WINDOWED:
        writer.add_sliding_window(WINDOW)
    if architecture == "gemma3":
        writer.add_uint32("gemma3.attention.sliding_window_pattern", 2)
    if architecture == "qwen35moe":
        writer.add_expert_shared_feed_forward_length(shape.expert_inner)
    if architecture in HYBRID:
        n_rotated = shape.head // 8
        writer.add_rope_dimension_sections([n_rotated // 3 + 1, n_rotated // 3 + 1, n_rotated // 3, 0])
        writer.add_ssm_conv_kernel(4)
        writer.add_ssm_state_size(shape.state)
        writer.add_ssm_group_count(shape.key_heads)
        writer.add_ssm_time_step_rank(shape.value_heads)
        writer.add_ssm_inner_size(shape.value_heads * shape.state)
        writer.add_uint32(f"{architecture}.full_attention_interval", 4)


def _add_latent_sizes(writer: gguf.GGUFWriter, shape: Shape) -> None:
    """Adds the sizes of latent attention. Every layer is dense: other architectures have experts."""
    writer.add_head_count_kv(1)
    writer.add_q_lora_rank(RANK)
    writer.add_kv_lora_rank(RANK)
    writer.add_key_length(RANK + ROTATED)
    writer.add_value_length(RANK)
    writer.add_key_length_mla(PLAIN + ROTATED)
    writer.add_value_length_mla(shape.head)
    writer.add_rope_dimension_count(ROTATED)
    writer.add_leading_dense_block_count(shape.layers)
    writer.add_expert_feed_forward_length(shape.expert_inner)
    writer.add_expert_shared_count(1)


def _tensors(architecture: Architecture, n_tokens: int, shape: Shape) -> Iterator[tuple[str, _Normal]]:
    width = shape.width
    # Gemma multiplies its embeddings by the root of the width.
    scale = width**-0.5 if architecture == "gemma3" else 1.0
    yield "token_embd.weight", _matrix(n_tokens, width, scale=scale)
    yield "output_norm.weight", _vector(width)
    yield "output.weight", _matrix(n_tokens, width, scale=2 * width**-0.5)
    for layer in range(shape.layers):
        if architecture in HYBRID and layer % 4 < 3:
            parts = _delta_net(shape)
        else:
            parts = _latent(shape) if architecture == "deepseek2" else _attention(architecture, shape)
        parts |= _experts(architecture, shape) if architecture in MIXTURES else _dense(shape)
        parts |= {f"{name}.weight": _vector(width) for name in _norms(architecture)}
        yield from ((f"blk.{layer}.{name}", tensor) for name, tensor in parts.items())


def _norms(architecture: Architecture) -> tuple[str, ...]:
    if architecture == "gemma3":
        return "attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"
    if architecture == "gpt-oss" or architecture in HYBRID:
        return "attn_norm", "post_attention_norm"
    return "attn_norm", "ffn_norm"


def _attention(architecture: Architecture, shape: Shape) -> _Parts:
    width, n_queries, n_keys = shape.width, shape.heads * shape.head, shape.kv_heads * shape.head
    parts = {
        "attn_q.weight": _matrix((2 if architecture in HYBRID else 1) * n_queries, width),
        "attn_k.weight": _matrix(n_keys, width),
        "attn_v.weight": _matrix(n_keys, width),
        "attn_output.weight": _matrix(width, n_queries),
    }
    if architecture == "gpt-oss":
        biases = {"q": n_queries, "k": n_keys, "v": n_keys, "output": width}
        parts |= {f"attn_{name}.bias": _vector(n, mean=0.0) for name, n in biases.items()}
        parts["attn_sinks.weight"] = _vector(shape.heads, mean=0.0)
    elif architecture not in ("llama", "mistral3"):
        parts |= {"attn_q_norm.weight": _vector(shape.head), "attn_k_norm.weight": _vector(shape.head)}
    return parts


def _latent(shape: Shape) -> _Parts:
    return {
        "attn_q_a.weight": _matrix(RANK, shape.width),
        "attn_q_a_norm.weight": _vector(RANK),
        "attn_q_b.weight": _matrix(shape.heads * (PLAIN + ROTATED), RANK),
        "attn_kv_a_mqa.weight": _matrix(RANK + ROTATED, shape.width),
        "attn_kv_a_norm.weight": _vector(RANK),
        "attn_k_b.weight": _matrix(shape.heads, RANK, PLAIN),
        "attn_v_b.weight": _matrix(shape.heads, shape.head, RANK),
        "attn_output.weight": _matrix(shape.width, shape.heads * shape.head),
    }


def _delta_net(shape: Shape) -> _Parts:
    width, n_values = shape.width, shape.value_heads * shape.state
    inner = 2 * shape.key_heads * shape.state + n_values
    return {
        "attn_qkv.weight": _matrix(inner, width),
        "attn_gate.weight": _matrix(n_values, width),
        "ssm_conv1d.weight": _matrix(inner, 4, scale=0.5),
        "ssm_dt.bias": _vector(shape.value_heads, 0.3, 0.0),
        "ssm_a": _vector(shape.value_heads, 0.3, -1.0),
        "ssm_beta.weight": _matrix(shape.value_heads, width),
        "ssm_alpha.weight": _matrix(shape.value_heads, width),
        "ssm_norm.weight": _vector(shape.state),
        "ssm_out.weight": _matrix(width, n_values),
    }


def _dense(shape: Shape) -> _Parts:
    return {
        "ffn_gate.weight": _matrix(shape.inner, shape.width),
        "ffn_up.weight": _matrix(shape.inner, shape.width),
        "ffn_down.weight": _matrix(shape.width, shape.inner),
    }


def _experts(architecture: Architecture, shape: Shape) -> _Parts:
    width, inner, n = shape.width, shape.expert_inner, shape.experts
    sizes: Mapping[str, tuple[int, int]] = {
        "gate": (inner, width),
        "up": (inner, width),
        "down": (width, inner),
    }
    parts = {"ffn_gate_inp.weight": _matrix(n, width, scale=0.1)}
    if architecture == "qwen35moe":
        parts["ffn_gate_inp_shexp.weight"] = _vector(width, 0.02, 0.0)
        parts |= {f"ffn_{name}_shexp.weight": _matrix(*size) for name, size in sizes.items()}
    parts |= {f"ffn_{name}_exps.weight": _matrix(n, *size) for name, size in sizes.items()}
    if architecture == "gpt-oss":
        parts["ffn_gate_inp.bias"] = _vector(n, mean=0.0)
        parts |= {f"ffn_{name}_exps.bias": _matrix(n, size[0], scale=0.1) for name, size in sizes.items()}
    return parts
