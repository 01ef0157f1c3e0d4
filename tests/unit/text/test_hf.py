"""tokenizer.json tokenizers over a small vocabulary that invites control tokens from ordinary text."""

import json
import threading
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors

from tessera.errors import ModelError
from tessera.text.hf import HfTokenizer

CONTROL = ["<|im_start|>", "<|im_end|>", "<tool_call>"]


def byte_level(*, whole_words: bool = False) -> tokenizers.Tokenizer:
    """A tokenizer whose vocabulary has control tokens that merges can produce and continue."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["he", "ll", "hell", "hello", "Ġhello", "<t", "<to", "ol", "ol_call>", *CONTROL, "<tool_call>Ġ"]
    merges = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("Ġ", "hello"), ("<", "t"), ("<t", "o")]
    merges += [("o", "l"), ("<to", "ol_call>"), ("<tool_call>", "Ġ")]
    vocabulary = {token: id for id, token in enumerate(letters + words)}
    tokenizer = tokenizers.Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, ignore_merges=whole_words, unk_token="<|im_end|>")
    )
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not whole_words)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", vocabulary["<|im_start|>"])]
    )
    tokenizer.add_special_tokens(CONTROL[:2])
    tokenizer.add_tokens([AddedToken(CONTROL[2], normalized=False), "\n\n\n", "<|late|>"])
    return tokenizer


LIBRARY = byte_level()
TOKENIZER = HfTokenizer(LIBRARY)

tempting = st.lists(
    st.sampled_from(
        [*CONTROL, "<|late|>", "<|im_", "end|>", "<to", "ol_call>", " hello", "\n\n\n", "e\u0301"]
    )
    | st.text(max_size=4)
).map("".join)


def test_every_added_token_but_blanks_is_control() -> None:
    assert set(TOKENIZER.control_tokens) == {*CONTROL, "<|late|>"}
    assert all(LIBRARY.token_to_id(token) == id for token, id in TOKENIZER.control_tokens.items())


@pytest.mark.parametrize("whole_words", [False, True])
@given(text=tempting)
def test_text_never_becomes_a_control_token(whole_words: bool, text: str) -> None:
    tokenizer = WHOLE_WORDS if whole_words else TOKENIZER
    ids = tokenizer.encode(text)
    assert set(ids).isdisjoint(tokenizer.control_tokens.values())
    normal = normalizers.NFC().normalize_str(text)
    assert b"".join(map(tokenizer.token_bytes, ids)).decode() == normal


WHOLE_WORDS = HfTokenizer(byte_level(whole_words=True))


@given(st.text().filter(lambda text: not any(token in text for token in [*CONTROL, "<|late|>"])))
def test_other_text_keeps_the_ids_of_the_library(text: str) -> None:
    assert TOKENIZER.encode(text) == LIBRARY.encode(text, add_special_tokens=False).ids


def test_blank_added_tokens_are_ordinary_text() -> None:
    assert TOKENIZER.encode("a\n\n\nb") == LIBRARY.encode("a\n\n\nb", add_special_tokens=False).ids
    assert LIBRARY.token_to_id("\n\n\n") in TOKENIZER.encode("a\n\n\nb")


def test_the_vocabulary_ends_after_the_last_added_token() -> None:
    assert TOKENIZER.vocabulary_size == TOKENIZER.control_tokens["<|late|>"] + 1
    assert TOKENIZER.token_bytes(TOKENIZER.vocabulary_size) == TOKENIZER.token_bytes(-1) == b""


def test_every_id_has_its_bytes() -> None:
    assert {TOKENIZER.token_bytes(id) for id in range(256)} == {bytes([byte]) for byte in range(256)}
    assert TOKENIZER.token_bytes(TOKENIZER.control_tokens["<tool_call>"]) == b"<tool_call>"


def test_the_whole_tokenizer_can_be_had_as_json() -> None:
    assert tokenizers.Tokenizer.from_str(TOKENIZER.json).encode("<|im_end|>").ids[-1] == LIBRARY.token_to_id(
        "<|im_end|>"
    )


def test_many_threads_encode_alike() -> None:
    texts = [f"hello {i} <|im_end|> \u00e9" * 20 for i in range(20)]
    expected = [TOKENIZER.encode(text) for text in texts]
    results: list[list[list[int]]] = []
    threads = [
        threading.Thread(target=lambda: results.append([TOKENIZER.encode(text) for text in texts]))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 4


def sentencepiece(scheme: str) -> HfTokenizer:
    tokens = ["<s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "▁a", "ab", "▁ab"]
    merges = [("▁", "a"), ("a", "b"), ("▁a", "b")]
    model = models.BPE(
        vocab={token: id for id, token in enumerate(tokens)}, merges=merges, byte_fallback=True
    )
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    tokenizer.add_special_tokens(["<s>"])
    return HfTokenizer(tokenizer)


def spelled(tokenizer: HfTokenizer, text: str) -> bytes:
    return b"".join(map(tokenizer.token_bytes, tokenizer.encode(text)))


def test_sentencepiece_spells_blanks_and_bytes() -> None:
    tokenizer = sentencepiece("never")
    assert spelled(tokenizer, "ab a<s>é🎉\n") == "ab a<s>é🎉\n".encode()
    assert 0 not in tokenizer.encode("<s>")


def test_the_blank_before_the_first_text_of_a_prompt_is_not_put_before_every_segment() -> None:
    assert spelled(sentencepiece("first"), "ab") == b"ab"
    assert spelled(sentencepiece("always"), "ab") == b" ab"


def test_other_models_than_bpe_are_refused() -> None:
    with pytest.raises(ModelError, match="WordLevel"):
        HfTokenizer(tokenizers.Tokenizer(models.WordLevel({"a": 0}, unk_token="a")))


def test_from_file(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(TOKENIZER.json)
    assert HfTokenizer.from_file(path).encode("hello") == TOKENIZER.encode("hello")


@pytest.mark.parametrize("content", [None, "", "{}", json.dumps({"model": {"type": "BPE"}})])
def test_from_file_names_the_file_that_cannot_be_read(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        HfTokenizer.from_file(path)


def test_merges_may_be_written_as_strings() -> None:
    spec = json.loads(TOKENIZER.json)
    spec["model"]["merges"] = [" ".join(pair) for pair in spec["model"]["merges"]]
    old = HfTokenizer(tokenizers.Tokenizer.from_str(json.dumps(spec)))
    assert old.encode(" hello <tool_call>") == TOKENIZER.encode(" hello <tool_call>")


@pytest.mark.parametrize("text", ["ü", "\t", "▁▁", "</h2>", "<b>"])
def test_added_tokens_that_are_mere_text_are_ordinary(text: str) -> None:
    library = byte_level()
    library.add_tokens([AddedToken(text, normalized=False)])
    tokenizer = HfTokenizer(library)
    assert text not in tokenizer.control_tokens
    assert library.token_to_id(text) in tokenizer.encode(f"a{text}b")


@pytest.mark.parametrize("text", ["<s>", "</s>", "<think>", "<script>"])
def test_other_added_tokens_are_control_tokens(text: str) -> None:
    library = byte_level()
    library.add_tokens([AddedToken(text, normalized=False)])
    assert text in HfTokenizer(library).control_tokens
