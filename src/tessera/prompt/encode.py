"""Segments to token ids."""

from collections.abc import Iterable
from functools import partial
from typing import assert_never

from tessera.formats.base import Control, Plain, Segment, Tag
from tessera.text.encoded import EncodedTexts
from tessera.text.tokenizer import Tokenizer


def encode(
    segments: Iterable[Segment],
    tokenizer: Tokenizer,
    known: EncodedTexts | None = None,
    salt: bytes = b"",
) -> tuple[int, ...]:
    """The ids of the segments, adjacent texts joined first: their ids are those of the whole text.

    Texts that are `known` under the salt are not encoded again. A `Control` that the tokenizer does not have
    is a `KeyError`: the format does not fit the model.
    """
    control = tokenizer.control_tokens
    ids_of = partial(known.ids, salt=salt, encode=tokenizer.encode) if known else tokenizer.encode
    ids: list[int] = []
    texts: list[str] = []
    for segment in segments:
        match segment:
            case Plain(text):
                texts.append(text)
            case Tag(text) if text not in control:
                texts.append(text)
            case Tag(token) | Control(token):
                ids += ids_of("".join(texts)) if texts else ()
                texts.clear()
                ids.append(control[token])
            case _:
                assert_never(segment)
    ids += ids_of("".join(texts)) if texts else ()
    return tuple(ids)
