"""The tokenizer that a GGUF file carries in its metadata, as the `tokenizers` library knows it.

The keys and the meaning of `tokenizer.ggml.pre` follow the GGUF specification and llama.cpp. Where a family's
own tokenizer.json composes characters (NFC), so does this one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers

from tessera.errors import ModelError

_NORMAL = 1
_CONTROL = 3
_USER_DEFINED = 4

_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+%s|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*%s|%s"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True, slots=True)
class _Splitting:
    """How text is cut into words before merging. The patterns apply one after the other."""

    patterns: tuple[str, ...]
    nfc: bool = False
    whole_words: bool = False  # a word that is a token is not merged


_DIGITWISE = _Splitting((r"\p{N}", _GPT2))
_LLAMA3 = _Splitting(
    (rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}{_REST}",), whole_words=True
)
_QWEN2 = _Splitting((rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{_REST}",), nfc=True)
_QWEN35 = _Splitting(
    (
        rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
        r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
    nfc=True,
)
_O200K = _Splitting((_CASED % (f"{_CONTRACTION}?", f"{_CONTRACTION}?", r"\p{N}{1,3}"),))
_TEKKEN = _Splitting((_CASED % ("", "", r"\p{N}"),), whole_words=True)

PRE_TOKENIZERS: Mapping[str, _Splitting] = {
    "default": _Splitting((r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]")),
    "gpt-2": _Splitting((_GPT2,)),
    "phi-2": _Splitting((_GPT2,)),
    "olmo": _Splitting((_GPT2,)),
    "smollm": _DIGITWISE,
    "starcoder": _DIGITWISE,
    "refact": _DIGITWISE,
    "command-r": _DIGITWISE,
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": _QWEN2,
    "qwen35": _QWEN35,
    "gpt-4o": _O200K,
    "llama4": _O200K,
    "tekken": _TEKKEN,
}


def tokenizer_from_gguf(metadata: Mapping[str, object]) -> tokenizers.Tokenizer:
    """Builds the tokenizer of a GGUF file from its key-value pairs. Arrays are sequences of plain values.

    Control and user-defined tokens become added tokens. Raises `ModelError`, which names the key that is
    missing or has an unknown value.
    """
    kind = str(metadata.get("tokenizer.ggml.model", "missing"))
    build = _MODELS.get(kind)
    if build is None:
        raise ModelError(f"tokenizer.ggml.model is {kind}; one of {', '.join(_MODELS)} is needed.")
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


def _byte_level(metadata: Mapping[str, object], tokens: list[str], types: list[int]) -> tokenizers.Tokenizer:
    del types
    name = str(metadata.get("tokenizer.ggml.pre", "default"))
    splitting = PRE_TOKENIZERS.get(name)
    if splitting is None:
        known = ", ".join(PRE_TOKENIZERS)
        raise ModelError(f"tokenizer.ggml.pre is {name}, which is not known here; known are {known}.")
    pairs = [cast("tuple[str, str]", tuple(str(m).split(" ", 1))) for m in _array(metadata, "merges")]
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
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return tokenizer


def _halves(token: str, pieces: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    for cut in range(1, len(token)):
        if (left := token[:cut]) in pieces and (right := token[cut:]) in pieces:
            yield left, right


_MODELS: Mapping[str, Callable[[Mapping[str, object], list[str], list[int]], tokenizers.Tokenizer]] = {
    "gpt2": _byte_level,
    "llama": _sentencepiece,
}
