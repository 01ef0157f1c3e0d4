"""Segments to token ids."""

import sys
from collections.abc import Iterable, Sequence
from typing import assert_never

from tessera.formats.base import Control, Plain, Segment, Tag
from tessera.prompt.token_memory import Trail
from tessera.text.encoded import EncodedTexts
from tessera.text.tokenizer import Tokenizer

_SLICE_CHARACTERS = 2**16
_LONG_CHARACTERS = 4 * _SLICE_CHARACTERS
"""Texts that are longer are counted in slices before they are encoded."""


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
    """The ids of the segments, adjacent texts joined first: their ids are those of the whole text.

    Texts that are `known` under the salt are not encoded again, and what a model wrote at that very place is
    cut as it did. A `Control` that the tokenizer does not have is a `KeyError`: the format does not fit the
    model. Raises `TooManyTokens` as soon as there are more than `most`, or, if a
    text is long, surely more than half as many.
    """
    control = tokenizer.control_tokens
    recall = _Recall(_Encoder(tokenizer, most), known or EncodedTexts(), salt)
    ids: list[int] = []
    texts: list[str] = []
    for segment in segments:
        match segment:
            case Plain(text):
                texts.append(text)
            case Tag(text) if text not in control:
                texts.append(text)
            case Tag(token) | Control(token):
                ids += recall.ids_of("".join(texts), ids) if texts else ()
                texts.clear()
                ids.append(control[token])
                _check(len(ids), most)
            case _:
                assert_never(segment)
    ids += recall.ids_of("".join(texts), ids) if texts else ()
    _check(len(ids), most)
    return tuple(ids)


class _Encoder:
    """Encodes a text unless it is clearly too long: what cannot be used costs no more than what can."""

    def __init__(self, tokenizer: Tokenizer, most: int) -> None:
        self._tokenizer, self._most = tokenizer, most

    def encode(self, text: str) -> list[int]:
        if len(text) > _LONG_CHARACTERS:
            n = 0
            for start in range(0, len(text), _SLICE_CHARACTERS):
                n += len(self._tokenizer.encode(text[start : start + _SLICE_CHARACTERS]))
                if n > self._most:
                    # Cutting a text adds some tokens at the ends of the slices, but does not double them.
                    raise TooManyTokens(n // 2)
        return self._tokenizer.encode(text)


class _Recall:
    """Looks for the ids of texts before it encodes them."""

    def __init__(self, encoder: _Encoder, known: EncodedTexts, salt: bytes) -> None:
        self._encoder, self._known, self._salt = encoder, known, salt
        self._trail, self._n_passed = Trail(salt), 0

    def ids_of(self, text: str, before: list[int]) -> Sequence[int]:
        """The ids of a text after all `before` it, which grows from call to call."""
        self._trail.go(before[self._n_passed :])
        self._n_passed = len(before)
        spoken = self._known.find(self._trail.key(text))
        return self._known.ids(text, self._salt, self._encoder.encode) if spoken is None else spoken


def _check(n: int, most: int) -> None:
    if n > most:
        raise TooManyTokens(n)
