"""The tokenizer that a GGUF file carries in its metadata, as the `tokenizers` library knows it.

The keys and the meaning of `tokenizer.ggml.pre` follow the GGUF specification and llama.cpp.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import cast

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers

from tessera.errors import ModelError
from tessera.text.splitting import SPLITTINGS

_NORMAL = 1
_CONTROL = 3
_USER_DEFINED = 4


class UnknownTokenizer(ModelError):
    """The file names a tokenizer that is not known here. The library that reads the weights may know it."""


def knows_tokenizer(metadata: Mapping[str, object]) -> bool:
    """Whether `tokenizer_from_gguf` can build the tokenizer, if the file is all right."""
    kind = metadata.get("tokenizer.ggml.model")
    return kind in _MODELS and (kind != "gpt2" or metadata.get("tokenizer.ggml.pre", "default") in SPLITTINGS)


def tokenizer_from_gguf(metadata: Mapping[str, object]) -> tokenizers.Tokenizer:
    """Builds the tokenizer of a GGUF file from its key-value pairs. Arrays are sequences of plain values.

    Control and user-defined tokens become added tokens. Raises `ModelError`, which names the key that is
    missing or has an unknown value; it is an `UnknownTokenizer` if the file itself may be all right.
    """
    kind = str(metadata.get("tokenizer.ggml.model", "missing"))
    build = _MODELS.get(kind)
    if build is None:
        raise UnknownTokenizer(f"tokenizer.ggml.model is {kind}; one of {', '.join(_MODELS)} is needed.")
    tokens = cast("list[str]", _array(metadata, "tokens"))
    types = cast("list[int]", _array(metadata, "token_type"))
    if len(types) != len(tokens):
        raise ModelError(f"tokenizer.ggml.token_type has {len(types)} entries for {len(tokens)} tokens.")
    tokenizer = build(metadata, tokens, types)
    tokenizer.add_tokens(  # pyright: ignore[reportUnknownMemberType] - a bare `list` in the library's stubs
        [
            AddedToken(token, normalized=False, special=type == _CONTROL)
            for token, type in zip(tokens, types, strict=True)
            if type in (_CONTROL, _USER_DEFINED)
        ]
    )
    return tokenizer


def _array(metadata: Mapping[str, object], name: str) -> list[object]:
    found = metadata.get(f"tokenizer.ggml.{name}")
    if not isinstance(found, Sequence) or isinstance(found, str | bytes):
        raise ModelError(f"The GGUF file has no array tokenizer.ggml.{name}.")
    return list(cast("Sequence[object]", found))


def _bpe(
    tokens: Sequence[str],
    merges: list[tuple[str, str]],
    *,
    whole_words: bool = False,
    byte_fallback: bool = False,
) -> tokenizers.Tokenizer:
    vocabulary = {token: id for id, token in enumerate(tokens)}
    try:
        model = models.BPE(
            vocab=vocabulary, merges=merges, ignore_merges=whole_words, byte_fallback=byte_fallback
        )
    except Exception as error:  # the library raises bare Exceptions
        raise ModelError(f"tokenizer.ggml.merges do not fit tokenizer.ggml.tokens: {error}") from error
    return tokenizers.Tokenizer(model)


def _pair(merge: str) -> tuple[str, str]:
    """The two halves of a merge. A blank may begin the first one, as in llama.cpp."""
    cut = merge.find(" ", 1)
    return merge[:cut], merge[cut + 1 :]


def _byte_level(metadata: Mapping[str, object], tokens: list[str], types: list[int]) -> tokenizers.Tokenizer:
    del types
    name = str(metadata.get("tokenizer.ggml.pre", "default"))
    splitting = SPLITTINGS.get(name)
    if splitting is None:
        known = ", ".join(SPLITTINGS)
        raise UnknownTokenizer(f"tokenizer.ggml.pre is {name}, which is not known here; known are {known}.")
    pairs = [_pair(str(merge)) for merge in _array(metadata, "merges")]
    tokenizer = _bpe(tokens, pairs, whole_words=splitting.whole_words)
    if splitting.nfc:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            *(pre_tokenizers.Split(Regex(pattern), behavior="isolated") for pattern in splitting.patterns),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _gemma4(metadata: Mapping[str, object], tokens: list[str], types: list[int]) -> tokenizers.Tokenizer:
    """SentencePiece's alphabet with a list of merges, which apply to lines and to runs of line breaks."""
    del types
    pairs = [_pair(str(merge)) for merge in _array(metadata, "merges")]
    tokenizer = _bpe(tokens, pairs, byte_fallback=True)
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[^\n]+|\n+"), behavior="isolated")
    tokenizer.decoder = _sentencepiece_decoder()
    return tokenizer


def _sentencepiece(
    metadata: Mapping[str, object], tokens: list[str], types: list[int]
) -> tokenizers.Tokenizer:
    scores = cast("list[float]", _array(metadata, "scores"))
    normal = {token: id for id, token in enumerate(tokens) if types[id] == _NORMAL}
    # SentencePiece first merges into the piece with the best score.
    pairs = [
        pair
        for token in sorted(normal, key=lambda token: (-scores[normal[token]], normal[token]))
        for pair in _halves(token, normal)
    ]
    tokenizer = _bpe(tokens, pairs, byte_fallback=True)
    steps: list[normalizers.Normalizer] = [normalizers.Replace(" ", "▁")]
    if metadata.get("tokenizer.ggml.add_space_prefix", True):
        steps.insert(0, normalizers.Prepend("▁"))
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.decoder = _sentencepiece_decoder()
    return tokenizer


def _sentencepiece_decoder() -> decoders.Decoder:
    return decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])


def _halves(token: str, pieces: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    for cut in range(1, len(token)):
        if (left := token[:cut]) in pieces and (right := token[cut:]) in pieces:
            yield left, right


_MODELS: Mapping[str, Callable[[Mapping[str, object], list[str], list[int]], tokenizers.Tokenizer]] = {
    "gpt2": _byte_level,
    "gemma4": _gemma4,
    "llama": _sentencepiece,
}
