"""Language models of random weights as GGUF files, of the architectures that llama.cpp alone computes.

Names and keys are those that llama.cpp's converter writes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import gguf
import numpy as np
from gguf.quants import quantize
from numpy.typing import NDArray
from tests.tiny_model import Words

Architecture = Literal["llama", "qwen3", "qwen35", "qwen35moe"]
ARCHITECTURES: tuple[Architecture, ...] = ("llama", "qwen3", "qwen35", "qwen35moe")
HYBRID: tuple[Architecture, ...] = ("qwen35", "qwen35moe")

WIDTH, LAYERS, CONTEXT = 256, 4, 4096
HEADS, KV_HEADS, HEAD = 4, 2, 64
KEY_HEADS, VALUE_HEADS, STATE = 2, 4, 64
EXPERTS, USED, INNER = 8, 2, 256

Tensor = NDArray[np.float32]


@dataclass
class Weights:
    chance: np.random.Generator

    def matrix(self, *shape: int, scale: float | None = None) -> Tensor:
        values = self.chance.standard_normal(shape) * (scale or shape[-1] ** -0.5)
        return values.astype(np.float32)

    def vector(self, n: int, scale: float = 0.1, mean: float = 1.0) -> Tensor:
        return (self.chance.standard_normal(n) * scale + mean).astype(np.float32)


def write_architecture(path: Path, architecture: Architecture, words: Words, seed: int = 0) -> None:
    """Write the model; its weights depend on nothing but `seed`."""
    writer = gguf.GGUFWriter(path, architecture)
    _add_sizes(writer, architecture)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(2)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(words.pre)
    writer.add_token_list(words.tokens)
    writer.add_token_types(words.types)
    writer.add_token_merges(words.merges)
    writer.add_eos_token_id(words.end)
    for name, tensor in _tensors(architecture, len(words.tokens), Weights(np.random.default_rng(seed))):
        if tensor.ndim > 1 and "conv1d" not in name and "gate_inp" not in name:
            quantized = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, quantize(tensor, quantized), raw_dtype=quantized)
        else:
            writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_sizes(writer: gguf.GGUFWriter, architecture: Architecture) -> None:
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    writer.add_rope_dimension_count(HEAD // 4 if architecture in HYBRID else HEAD)
    if architecture == "qwen35moe":
        writer.add_expert_count(EXPERTS)
        writer.add_expert_used_count(USED)
        writer.add_expert_feed_forward_length(INNER)
        writer.add_expert_shared_feed_forward_length(INNER)
    else:
        writer.add_feed_forward_length(2 * WIDTH)
    if architecture in HYBRID:
        writer.add_rope_dimension_sections([3, 3, 2, 0])
        writer.add_ssm_conv_kernel(4)
        writer.add_ssm_state_size(STATE)
        writer.add_ssm_group_count(KEY_HEADS)
        writer.add_ssm_time_step_rank(VALUE_HEADS)
        writer.add_ssm_inner_size(VALUE_HEADS * STATE)
        writer.add_uint32(f"{architecture}.full_attention_interval", LAYERS)


def _tensors(architecture: Architecture, n_tokens: int, w: Weights) -> Iterator[tuple[str, Tensor]]:
    yield "token_embd.weight", w.matrix(n_tokens, WIDTH, scale=1.0)
    yield "output_norm.weight", w.vector(WIDTH)
    yield "output.weight", w.matrix(n_tokens, WIDTH, scale=2 * WIDTH**-0.5)
    hybrid = architecture in HYBRID
    for layer in range(LAYERS):
        attends = not hybrid or layer == LAYERS - 1
        parts = _attention(architecture, w) if attends else _delta_net(w)
        parts |= _experts(w) if architecture == "qwen35moe" else _dense(w)
        parts["attn_norm.weight"] = w.vector(WIDTH)
        parts["post_attention_norm.weight" if hybrid else "ffn_norm.weight"] = w.vector(WIDTH)
        yield from ((f"blk.{layer}.{name}", tensor) for name, tensor in parts.items())


def _attention(architecture: Architecture, w: Weights) -> dict[str, Tensor]:
    gates = 2 if architecture in HYBRID else 1
    parts = {
        "attn_q.weight": w.matrix(gates * HEADS * HEAD, WIDTH),
        "attn_k.weight": w.matrix(KV_HEADS * HEAD, WIDTH),
        "attn_v.weight": w.matrix(KV_HEADS * HEAD, WIDTH),
        "attn_output.weight": w.matrix(WIDTH, HEADS * HEAD),
    }
    if architecture != "llama":
        parts |= {"attn_q_norm.weight": w.vector(HEAD), "attn_k_norm.weight": w.vector(HEAD)}
    return parts


def _delta_net(w: Weights) -> dict[str, Tensor]:
    inner = 2 * KEY_HEADS * STATE + VALUE_HEADS * STATE
    return {
        "attn_qkv.weight": w.matrix(inner, WIDTH),
        "attn_gate.weight": w.matrix(VALUE_HEADS * STATE, WIDTH),
        "ssm_conv1d.weight": w.matrix(inner, 4, scale=0.5),
        "ssm_dt.bias": w.vector(VALUE_HEADS, 0.3, 0.0),
        "ssm_a": w.vector(VALUE_HEADS, 0.3, -1.0),
        "ssm_beta.weight": w.matrix(VALUE_HEADS, WIDTH),
        "ssm_alpha.weight": w.matrix(VALUE_HEADS, WIDTH),
        "ssm_norm.weight": w.vector(STATE),
        "ssm_out.weight": w.matrix(WIDTH, VALUE_HEADS * STATE),
    }


def _dense(w: Weights) -> dict[str, Tensor]:
    return {
        "ffn_gate.weight": w.matrix(2 * WIDTH, WIDTH),
        "ffn_up.weight": w.matrix(2 * WIDTH, WIDTH),
        "ffn_down.weight": w.matrix(WIDTH, 2 * WIDTH),
    }


def _experts(w: Weights) -> dict[str, Tensor]:
    return {
        "ffn_gate_inp.weight": w.matrix(EXPERTS, WIDTH, scale=0.1),
        "ffn_gate_inp_shexp.weight": w.vector(WIDTH, 0.02, 0.0),
        "ffn_gate_exps.weight": w.matrix(EXPERTS, INNER, WIDTH),
        "ffn_up_exps.weight": w.matrix(EXPERTS, INNER, WIDTH),
        "ffn_down_exps.weight": w.matrix(EXPERTS, WIDTH, INNER),
        "ffn_gate_shexp.weight": w.matrix(INNER, WIDTH),
        "ffn_up_shexp.weight": w.matrix(INNER, WIDTH),
        "ffn_down_shexp.weight": w.matrix(WIDTH, INNER),
    }
