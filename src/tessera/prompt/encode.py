"""Segments to token ids."""

from collections.abc import Iterable
from typing import assert_never

from tessera.formats.base import Control, Plain, Segment, Tag
from tessera.text.tokenizer import Tokenizer


def encode(segments: Iterable[Segment], tokenizer: Tokenizer) -> tuple[int, ...]:
    """The ids of the segments, adjacent texts joined first: their ids are those of the whole text.

    A `Control` that the tokenizer does not have is a `KeyError`: the format does not fit the model.
    """
    control = tokenizer.control_tokens
    ids: list[int] = []
    texts: list[str] = []
    for segment in segments:
        match segment:
            case Plain(text):
                texts.append(text)
            case Tag(text) if text not in control:
                texts.append(text)
            case Tag(token) | Control(token):
                ids += tokenizer.encode("".join(texts)) if texts else ()
                texts.clear()
                ids.append(control[token])
            case _:
                assert_never(segment)
    ids += tokenizer.encode("".join(texts)) if texts else ()
    return tuple(ids)
