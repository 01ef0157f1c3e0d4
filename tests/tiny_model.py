"""A language model of random weights, as a GGUF file: llama with 2 layers, 64 wide."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from tokenizers import pre_tokenizers

LAYERS, WIDTH, HEADS, INNER, CONTEXT = 2, 64, 2, 128, 16_384
NORMAL, CONTROL = gguf.TokenType.NORMAL, gguf.TokenType.CONTROL
ENDS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TAGS = ("<think>", "</think>", "<tool_call>", "</tool_call>")

# What a random model would never spell byte by byte: what ends values, and what looks as if it did.
WORDS = (
    '"',
    '", "',
    '": ',
    '"}',
    "}}\n",
    "]}",
    "\\",
    "\\n",
    "\n\n",
    "true",
    "null",
    "12",
    "-0.",
    "\n</parameter>\n",
    "</parameter>",
    "</parameter>\n<parameter=",
    "</function>",
    "</function>\n",
    "<function=",
    "<parameter=",
    '{"name": "',
    "</",
    "<",
    "tool_call>",
    "think>",
    "año",
    "😀",
    "th",
)


@dataclass(frozen=True)
class Words:
    """A vocabulary: the tokens as GGUF spells them, their kinds, and the merges."""

    tokens: Sequence[str]
    types: Sequence[int]
    merges: Sequence[str]
    pre: str
    end: int


def byte_words(*, tags_are_tokens: bool) -> Words:
    """A vocabulary of bytes, some words, and the tags of ChatML, which are control tokens or else words."""
    control = [*ENDS, *(TAGS if tags_are_tokens else ())]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [_in_alphabet(word) for word in (*WORDS, *TAGS) if word not in control and len(word) > 1]
    tokens = [*control, *alphabet, *words]
    types = [CONTROL] * len(control) + [NORMAL] * (len(tokens) - len(control))
    return Words(tokens, types, ["t h"], "gpt-2", control.index("<|im_end|>"))


def _in_alphabet(word: str) -> str:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(word)[0][0]


def words_of(fields: Mapping[str, Any]) -> Words:
    """The vocabulary of another GGUF file."""
    said = {name.removeprefix("tokenizer.ggml."): value for name, value in fields.items()}
    return Words(said["tokens"], said["token_type"], said["merges"], said["pre"], said["eos_token_id"])


def write_gguf(path: Path, words: Words, seed: int = 0, template: str | None = None) -> None:
    """Writes the model; its weights depend only on `seed`."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_block_count(LAYERS)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_quantization_version(2)
    writer.add_vocab_size(len(words.tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(words.pre)
    writer.add_token_list(words.tokens)
    writer.add_token_types(words.types)
    writer.add_token_merges(words.merges)
    writer.add_bos_token_id(words.end)
    writer.add_eos_token_id(words.end)
    if template:
        writer.add_chat_template(template)
    for name, tensor in _tensors(len(words.tokens), np.random.default_rng(seed)):
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _tensors(n_tokens: int, chance: np.random.Generator) -> list[tuple[str, np.ndarray]]:
    def matrix(rows: int, columns: int) -> np.ndarray:
        return (chance.standard_normal((rows, columns)) / np.sqrt(columns)).astype(np.float16)

    ones = np.ones(WIDTH, np.float32)
    tensors = [("token_embd.weight", matrix(n_tokens, WIDTH) * np.float16(8)), ("output_norm.weight", ones)]
    tensors.append(("output.weight", matrix(n_tokens, WIDTH) * np.float16(2)))
    for layer in range(LAYERS):
        square = {f"attn_{name}": matrix(WIDTH, WIDTH) for name in ("q", "k", "v", "output")}
        inner = {f"ffn_{name}": matrix(INNER, WIDTH) for name in ("gate", "up")}
        others = {"ffn_down": matrix(WIDTH, INNER), "attn_norm": ones, "ffn_norm": ones}
        tensors += [(f"blk.{layer}.{name}.weight", t) for name, t in {**square, **inner, **others}.items()]
    return tensors
