"""Tokenizers from GGUF metadata, small synthetic ones of both kinds."""

from dataclasses import dataclass
from typing import Any

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from tessera.errors import ModelError
from tessera.text.gguf import tokenizer_from_gguf
from tessera.text.hf import HfTokenizer
from tessera.text.splitting import SPLITTINGS

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6
ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())


def byte_level(pre: str | None = "smollm", **changes: object) -> dict[str, object]:
    tokens = ["<|endoftext|>", "<|im_end|>", *ALPHABET, "he", "Ġhe", "12", "<tool_call>"]
    metadata: dict[str, object] = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [CONTROL] * 2 + [NORMAL] * (len(tokens) - 3) + [USER_DEFINED],
        "tokenizer.ggml.merges": ["h e", "Ġ he", "1 2"],
    }
    if pre is not None:
        metadata["tokenizer.ggml.pre"] = pre
    return {key: value for key, value in {**metadata, **changes}.items() if value is not None}


def words(pre: str | None, text: str) -> list[str]:
    """The words into which the text is cut before merging."""
    cut = tokenizer_from_gguf(byte_level(pre)).pre_tokenizer.pre_tokenize_str(text)
    return [text[start:end] for _, (start, end) in cut]


@dataclass(frozen=True)
class Case:
    pre: str | None
    text: str
    words: list[str]


CASES = [
    Case("smollm", "I'm 123 x!!\n\n y", ["I", "'m", " ", "1", "2", "3", " x", "!!", "\n\n", " y"]),
    Case("gpt-2", "I'm 123 x!!\n\n y", ["I", "'m", " 123", " x", "!!", "\n\n", " y"]),
    Case("default", "I'm 1234 x!!\n", ["I", "'", "m", " ", "123", "4", " x", "!!", "\n"]),
    Case(None, "1234", ["123", "4"]),
    Case("llama-bpe", "I'M 1234 x!!\n\n y", ["I", "'M", " ", "123", "4", " x", "!!\n\n", " y"]),
    Case("qwen2", "I'M 12 n\u0303o x!!\n\n", ["I", "'M", " ", "1", "2", " n", "\u0303o", " x", "!!\n\n"]),
    Case("qwen35", "x\u0327y 12", ["x\u0327y", " ", "1", "2"]),
    Case("gpt-4o", "myServer's 1234", ["my", "Server's", " ", "123", "4"]),
    Case("tekken", "myServer's 12", ["my", "Server", "'s", " ", "1", "2"]),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.pre))
def test_text_is_cut_into_words(case: Case) -> None:
    assert words(case.pre, case.text) == case.words


@pytest.mark.parametrize("pre", SPLITTINGS)
@given(text=st.text(max_size=30))
def test_nothing_is_lost_in_cutting(pre: str, text: str) -> None:
    assert "".join(words(pre, text)) == text


def test_control_and_user_defined_tokens_are_added_tokens_and_keep_their_ids() -> None:
    tokenizer = HfTokenizer(tokenizer_from_gguf(byte_level()))
    assert tokenizer.control_tokens == {"<|endoftext|>": 0, "<|im_end|>": 1, "<tool_call>": 261}
    assert tokenizer.vocabulary_size == 262


@given(
    st.lists(st.sampled_from(["<|im_end|>", "<tool_call>", " he", "12"]) | st.text(max_size=5)).map("".join)
)
def test_text_never_becomes_a_control_token(text: str) -> None:
    ids = SMALL.encode(text)
    assert set(ids).isdisjoint(SMALL.control_tokens.values())
    assert b"".join(map(SMALL.token_bytes, ids)).decode() == text


SMALL = HfTokenizer(tokenizer_from_gguf(byte_level()))


def test_merges_and_digits() -> None:
    spelled = [SMALL.token_bytes(id) for id in SMALL.encode("he he12")]
    assert spelled == [b"he", b" he", b"1", b"2"]


@pytest.mark.parametrize("metadata", [byte_level(), byte_level("qwen35")], ids=["smollm", "qwen35"])
def test_it_survives_tokenizer_json(metadata: dict[str, object]) -> None:
    tokenizer = tokenizer_from_gguf(metadata)
    again = tokenizers.Tokenizer.from_str(tokenizer.to_str())
    assert again.to_str() == tokenizer.to_str()
    assert again.encode("he <|im_end|>é").ids == tokenizer.encode("he <|im_end|>é").ids


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"tokenizer.ggml.pre": "brand-new"}, "brand-new"),
        ({"tokenizer.ggml.model": "rwkv"}, "rwkv"),
        ({"tokenizer.ggml.model": None}, "missing"),
        ({"tokenizer.ggml.tokens": None}, "tokenizer.ggml.tokens"),
        ({"tokenizer.ggml.token_type": "3"}, "tokenizer.ggml.token_type"),
        ({"tokenizer.ggml.token_type": [1]}, "tokenizer.ggml.token_type"),
        ({"tokenizer.ggml.merges": None}, "tokenizer.ggml.merges"),
        ({"tokenizer.ggml.merges": ["zz zz"]}, "tokenizer.ggml.merges"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ModelError, match=named):
        tokenizer_from_gguf(byte_level(**changes))


def sentencepiece(*, space_prefix: bool) -> HfTokenizer:
    pieces = {"▁": -1.0, "a": -1.0, "b": -1.0, "ab": -3.0, "▁a": -2.0, "▁ab": -4.0, "s>": -2.5, "<": -9.0}
    letters = {"s": -9.0, ">": -9.0}
    tokens = ["<unk>", "<s>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces, *letters]
    metadata: dict[str, object] = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [0.0] * 258 + [*pieces.values(), *letters.values()],
        "tokenizer.ggml.token_type": [UNKNOWN, CONTROL] + [BYTE] * 256 + [NORMAL] * 10,
        "tokenizer.ggml.add_space_prefix": space_prefix,
    }
    return HfTokenizer(tokenizer_from_gguf(metadata))


def test_sentencepiece_merges_by_score_and_falls_back_to_bytes() -> None:
    tokenizer = sentencepiece(space_prefix=False)
    spelled = [tokenizer.token_bytes(id) for id in tokenizer.encode("ab ab\né<s>")]
    assert spelled == [b"ab", b" ab", b"\n", b"\xc3", b"\xa9", b"<", b"s>"]
    assert tokenizer.control_tokens == {"<s>": 1}


def test_sentencepiece_may_want_a_blank_before_a_text() -> None:
    tokenizer = sentencepiece(space_prefix=True)
    assert [tokenizer.token_bytes(id) for id in tokenizer.encode("ab")] == [b" ab"]
