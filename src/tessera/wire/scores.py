"""Logprobs as OpenAI's JSON.

A reply may have hundreds of thousands of them, each with 20 alternatives: they are written as bytes as they
come. As objects, all together, they would take the encoder seconds in which nobody else is answered.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TypeAlias

import msgspec
from msgspec import Struct

from tessera.core.generation import TokenLogprob

Spelling: TypeAlias = Callable[[int], bytes]
"""Returns the bytes of a token."""

LEAST_LOGPROB = -9999.0
"""What OpenAI sends for an impossible token; JSON has no infinity."""

_MAX_KEPT = 4096
_json = msgspec.json.Encoder().encode


# These structs describe what `ScoreWriter` writes.
class Alternative(Struct):
    """A token that could have been."""

    token: str
    logprob: float
    bytes: list[int]


class TokenScore(Struct):
    """A token that is, and what else could have been."""

    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[Alternative]


class Logprobs(Struct):
    """Aligned with the visible content."""

    content: list[TokenScore]
    refusal: None = None


class ScoreWriter:
    """Writes the logprobs of one reply."""

    def __init__(self, spell: Spelling) -> None:
        self._spell = spell
        self._around = lru_cache(_MAX_KEPT)(self._spelled)

    def write(self, logprobs: Iterable[TokenLogprob]) -> bytes:
        """The items of `content`, without the brackets."""
        return b",".join(map(self._score, logprobs))

    def _score(self, logprob: TokenLogprob) -> bytes:
        own = self._alternative(logprob.token_id, logprob.logprob)
        top = b",".join([self._alternative(token_id, value) for token_id, value in logprob.top])
        return b'%b,"top_logprobs":[%b]}' % (own[:-1], top)

    def _alternative(self, token_id: int, logprob: float) -> bytes:
        before, after = self._around(token_id)
        return before + _json(max(logprob, LEAST_LOGPROB)) + after

    def _spelled(self, token_id: int) -> tuple[bytes, bytes]:
        """What stands before and after the number. Tokens occur again and again."""
        spelled = self._spell(token_id)
        text = _json(spelled.decode("utf-8", "replace"))
        return b'{"token":%b,"logprob":' % text, b',"bytes":%b}' % _json(list(spelled))


def logprobs_object(items: bytes) -> bytes:
    """The object that has these items as its `content`."""
    return b'{"content":[%b],"refusal":null}' % items
