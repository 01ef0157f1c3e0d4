"""The pieces that the detokenizer decodes token ids to: text, and control tokens in their places."""

from typing import TypeAlias

from tessera.core.generation import TokenLogprob
from tessera.core.values import value


@value
class TextPiece:
    """Whole characters, with the logprobs (if any) of the tokens that end in them."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


@value
class ControlPiece:
    """One control token."""

    token_id: int
    text: str


Piece: TypeAlias = TextPiece | ControlPiece
