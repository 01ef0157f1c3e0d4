"""Encodes segments as token ids."""

import sys
from collections.abc import Iterable, Sequence
from typing import assert_never

from tessera.formats.base import Control, Plain, Segment, Tag
from tessera.prompt.token_memory import TokenTrail
from tessera.text.encoded import EncodedTexts
from tessera.text.tokenizer import Tokenizer

_SLICE_CHARACTERS = 2**16
_LONG_CHARACTERS = 4 * _SLICE_CHARACTERS
"""Longer texts are counted in slices before they are encoded."""


class TooManyTokens(Exception):
    """There are `n` tokens or more."""

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self.n = n


def encode(
    segments: Iterable[Segment],
    tokenizer: Tokenizer,
    known: EncodedTexts | None = None,
    salt: bytes = b"",
    *,
    most: int = sys.maxsize,
) -> tuple[int, ...]:
    """The ids of the segments. Adjacent texts are joined first, so that their ids are those of the whole
    text.

    Texts that are `known` under the salt are not encoded again. A text that the model generated at the same
    place keeps the model's own ids. Raises `KeyError` for a `Control` that the tokenizer does not have: the
    format does not fit the model. Raises `TooManyTokens` once there are more than `most`, or in a long text
    certainly more than half as many.
    """
    control = tokenizer.control_tokens
    encoder = _TextEncoder(tokenizer, known or EncodedTexts(), salt, most)
    ids: list[int] = []
    texts: list[str] = []
    for segment in segments:
        match segment:
            case Plain(text):
                texts.append(text)
            case Tag(text) if text not in control:
                texts.append(text)
            case Tag(token) | Control(token):
                ids += encoder.ids_of("".join(texts), ids) if texts else ()
                texts.clear()
                ids.append(control[token])
                _check(len(ids), most)
            case _:
                assert_never(segment)
    ids += encoder.ids_of("".join(texts), ids) if texts else ()
    _check(len(ids), most)
    return tuple(ids)


class _TextEncoder:
    """Looks up the ids of texts before it encodes them."""

    def __init__(self, tokenizer: Tokenizer, known: EncodedTexts, salt: bytes, most: int) -> None:
        self._tokenizer = tokenizer
        self._known = known
        self._salt = salt
        self._most = most
        self._trail = TokenTrail(salt)
        self._n_passed = 0

    def ids_of(self, text: str, before: list[int]) -> Sequence[int]:
        """The ids of a text that follows the ids `before` it, to which each call adds."""
        self._trail.extend(before[self._n_passed :])
        self._n_passed = len(before)
        generated = self._known.find(self._trail.key(text))
        return self._known.ids(text, self._salt, self._encode) if generated is None else generated

    def _encode(self, text: str) -> list[int]:
        """Encodes a text, but for one that is clearly too long: it must not cost more than one that fits."""
        if len(text) > _LONG_CHARACTERS:
            n = 0
            for start in range(0, len(text), _SLICE_CHARACTERS):
                n += len(self._tokenizer.encode(text[start : start + _SLICE_CHARACTERS]))
                if n > self._most:
                    # Cutting a text adds some tokens at the ends of the slices, but does not double them.
                    raise TooManyTokens(n // 2)
        return self._tokenizer.encode(text)


def _check(n: int, most: int) -> None:
    if n > most:
        raise TooManyTokens(n)
