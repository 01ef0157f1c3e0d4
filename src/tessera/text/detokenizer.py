"""Decodes token ids to ordered pieces of text and control tokens, without splitting a character."""

import codecs
from collections.abc import Mapping, Sequence
from functools import lru_cache

from tessera.core.generation import TokenLogprob
from tessera.text.pieces import ControlPiece, Piece, TextPiece
from tessera.text.tokenizer import Tokenizer

_decoder = codecs.getincrementaldecoder("utf-8")


@lru_cache(maxsize=16)
def control_texts(tokenizer: Tokenizer) -> Mapping[int, str]:
    """The texts of the control tokens by their ids; kept, because some vocabularies have thousands."""
    return {id: text for text, id in tokenizer.control_tokens.items()}


class Detokenizer:
    """Decodes one sequence.

    Bytes of an unfinished character are held until it is whole. A byte becomes U+FFFD only once no further
    byte could make it valid, or when a control token or the end of the sequence comes instead. A sequence
    that the token limit cuts ends before the unfinished character. A token's logprob goes with the first
    piece that holds a part of it; the logprob of a token that spells nothing goes with the next piece of
    text.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._bytes_of = tokenizer.token_bytes
        self._control = control_texts(tokenizer)
        self._ordinary = self._control.keys().isdisjoint
        self._decode = _decoder("replace")
        self._holds_bytes = False
        self._waiting: tuple[TokenLogprob, ...] = ()

    def feed(self, token_id: int, logprob: TokenLogprob | None = None) -> tuple[Piece, ...]:
        """The pieces that this token completes, mostly none or one. A control token's logprob is dropped."""
        control = self._control.get(token_id)
        if control is not None:
            return (*self.flush(), ControlPiece(token_id, control))
        spelled = self._bytes_of(token_id)
        if spelled and not self._holds_bytes and not self._waiting:
            # The common case: whole characters, and nothing held before them.
            try:
                return (TextPiece(spelled.decode(), () if logprob is None else (logprob,)),)
            except UnicodeDecodeError:
                pass
        return self._resume(spelled, () if logprob is None else (logprob,))

    def plain(self, token_ids: Sequence[int]) -> str | None:
        """The text of ordinary tokens, if they spell whole characters and nothing is held. Else None; then
        the tokens still have to be fed.
        """
        if self._holds_bytes or self._waiting or not self._ordinary(token_ids):
            return None
        try:
            if len(token_ids) == 1:
                return self._bytes_of(token_ids[0]).decode()
            return b"".join(map(self._bytes_of, token_ids)).decode()
        except UnicodeDecodeError:
            return None

    def flush(self) -> tuple[Piece, ...]:
        """Ends a text that the model itself ended: what is held will not be completed."""
        text = self._decode.decode(b"", final=True) if self._holds_bytes else ""
        logprobs = self._waiting
        self._holds_bytes = False
        self._waiting = ()
        return (TextPiece(text, logprobs),) if text else ()

    def _resume(self, spelled: bytes, logprob: tuple[TokenLogprob, ...]) -> tuple[Piece, ...]:
        text = self._decode.decode(spelled)
        n_held = len(self._decode.getstate()[0])
        self._holds_bytes = n_held > 0
        if not text:
            self._waiting += logprob
            return ()
        # All that was held before is in `text`. What is held now are the last bytes of this token, or all.
        shown, self._waiting = (
            (self._waiting + logprob, ()) if n_held < len(spelled) else (self._waiting, logprob)
        )
        return (TextPiece(text, shown),)
