"""The ids of GGUF vocabularies are those of llama.cpp, on odd texts; see `tests/gguf_vocabulary.py`."""

import json
import re
import unicodedata
from functools import cache
from typing import Any

import pytest
import tiktoken
from tests.gguf_vocabulary import DATA, WHOLE_WORDS, byte_level, gemma4, sentencepiece

from tessera.text.gguf import tokenizer_from_gguf
from tessera.text.hf import HfTokenizer
from tessera.text.splitting import SPLITTINGS

RECORDED: dict[str, Any] = json.loads(DATA.read_text())
CASES: list[dict[str, Any]] = RECORDED["cases"]
NAMES = [name for names in CASES[0]["ids"] for name in names.split()]

_UPPER, _LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
_START, _END, _NOT_HAN = r"[^\r\n\p{L}\p{N}]?", "(?i:'s|'t|'re|'ve|'m|'ll|'d)?", r"&&[^\p{Han}]"
_BLANKS = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
OFFICIAL = {
    "gpt-4o": rf"{_START}[{_UPPER}]*[{_LOWER}]+{_END}|{_START}[{_UPPER}]+[{_LOWER}]*{_END}"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + _BLANKS,
    "tekken": rf"{_START}[{_UPPER}]*[{_LOWER}]+|{_START}[{_UPPER}]+[{_LOWER}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + _BLANKS,
    "kimi-k2": rf"[\p{{Han}}]+|{_START}[{_UPPER}{_NOT_HAN}]*[{_LOWER}{_NOT_HAN}]+{_END}"
    rf"|{_START}[{_UPPER}{_NOT_HAN}]+[{_LOWER}{_NOT_HAN}]*{_END}"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*" + _BLANKS,
}
"""The families' own patterns, which llama.cpp only approaches: it cuts before combining marks, and takes
every letter that is not ASCII for a capital and a small one at once. Kimi's words it does not cut within.
"""


@cache
def tokenizer(name: str) -> HfTokenizer:
    if name == "gemma4":
        metadata = gemma4(RECORDED["pieces"], RECORDED["letters"])
    elif name == "sentencepiece":
        metadata = sentencepiece(RECORDED["pieces"], RECORDED["letters"])
    else:
        metadata = byte_level(name, RECORDED["merges"])
    return HfTokenizer(tokenizer_from_gguf(metadata))


def recorded(case: dict[str, Any], name: str) -> list[int]:
    ids = next(ids for names, ids in case["ids"].items() if name in names.split())
    return [int(id) for id in ids.split()]


def is_approached(text: str, name: str) -> bool:
    """Whether llama.cpp may cut the text differently from the families in `OFFICIAL`."""
    marks = any(unicodedata.category(letter).startswith("M") for letter in text)
    capitals = any(letter.isupper() or unicodedata.category(letter) in ("Lt", "Lo") for letter in text)
    humps = name == "kimi-k2" and re.search("[a-z][A-Z]", text) is not None
    return marks or humps or (capitals and not text.isascii())


def test_every_splitting_was_recorded() -> None:
    assert len(CASES) > 400
    assert {id(SPLITTINGS[name]) for name in NAMES if name in SPLITTINGS} == {*map(id, SPLITTINGS.values())}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OFFICIAL])
def test_ids_are_those_of_llama_cpp(name: str) -> None:
    encode = tokenizer(name).encode
    wrong = {c["text"]: encode(c["text"]) for c in CASES if encode(c["text"]) != recorded(c, name)}
    assert wrong == {}


@pytest.mark.parametrize("name", OFFICIAL)
def test_ids_are_those_of_llama_cpp_where_it_cuts_as_the_family_does(name: str) -> None:
    encode = tokenizer(name).encode
    simple = [case for case in CASES if not is_approached(case["text"], name)]
    assert len(simple) > 230
    assert {c["text"]: encode(c["text"]) for c in simple if encode(c["text"]) != recorded(c, name)} == {}


@pytest.mark.parametrize("name", OFFICIAL)
def test_ids_are_those_of_the_familys_own_tokenizer(name: str) -> None:
    ours = tokenizer(name)
    # tiktoken looks every word up whole, also those to which no merges lead in the vocabulary of these tests.
    merged = {merge.replace(" ", "") for merge in RECORDED["merges"]}
    unreached = set() if SPLITTINGS[name].whole_words else {*WHOLE_WORDS} - merged
    only_whole = {word.replace("Ġ", " ").encode() for word in unreached}
    tokens = {id: ours.token_bytes(id) for id in range(ours.vocabulary_size)}
    ranks = {token: id for id, token in tokens.items() if token not in only_whole}
    own = tiktoken.Encoding(name, pat_str=OFFICIAL[name], mergeable_ranks=ranks, special_tokens={})
    wrong = {
        c["text"]: ours.encode(c["text"]) for c in CASES if ours.encode(c["text"]) != own.encode(c["text"])
    }
    assert wrong == {}


def test_texts_that_are_spelled_like_tokens_stay_text() -> None:
    ids = tokenizer("sentencepiece").encode("<0x0A>")
    assert len(ids) > 1
