"""Encodes segments as token ids."""

from collections.abc import Iterable, Sequence
from typing import assert_never

from tessera.formats.base import Control, Plain, Segment, Tag
from tessera.prompt.token_memory import TokenTrail
from tessera.text.encoded import EncodedTexts
from tessera.text.tokenizer import Tokenizer


def encode(
    segments: Iterable[Segment],
    tokenizer: Tokenizer,
    known: EncodedTexts | None = None,
    salt: bytes = b"",
) -> tuple[int, ...]:
    """The ids of the segments. Adjacent texts are joined first, so that their ids are those of the whole
    text.

    Texts that are `known` under the salt are not encoded again. A text that the model generated at the same
    place keeps the model's own ids. Raises `KeyError` for a `Control` that the tokenizer does not have: the
    format does not fit the model.
    """
    control = tokenizer.control_tokens
    recall = _CachingEncoder(tokenizer, known or EncodedTexts(), salt)
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
            case _:
                assert_never(segment)
    ids += recall.ids_of("".join(texts), ids) if texts else ()
    return tuple(ids)


class _CachingEncoder:
    """Looks up the ids of texts before it encodes them."""

    def __init__(self, tokenizer: Tokenizer, known: EncodedTexts, salt: bytes) -> None:
        self._tokenizer = tokenizer
        self._known = known
        self._salt = salt
        self._trail = TokenTrail(salt)
        self._n_passed = 0

    def ids_of(self, text: str, before: list[int]) -> Sequence[int]:
        """The ids of a text that follows the ids `before` it, to which each call adds."""
        self._trail.go(before[self._n_passed :])
        self._n_passed = len(before)
        spoken = self._known.find(self._trail.key(text))
        return self._known.ids(text, self._salt, self._tokenizer.encode) if spoken is None else spoken
