"""Grammars are tried out before they are used: compiled, and followed along a few walks.

Compiling depends on the vocabulary's control tokens only, so every other token stands for one byte here.
"""

import random
from collections.abc import Collection, Mapping

from llguidance import LLMatcher, LLTokenizer

from tessera.text.bytewise import ByteTokenizer
from tessera.text.llg import LIMITS, llg_tokenizer

_STEPS = 48
_WALKS = 3


def problem(lark: str, tokenizer: LLTokenizer, control_ids: Collection[int]) -> str | None:
    """Why a grammar cannot be used: it does not compile, has no reply, or leads where it cannot be followed.

    The last is found by walking: llguidance builds its automata as it goes, within limits that a pattern
    can exceed long after it compiled.
    """
    matcher = LLMatcher(tokenizer, LLMatcher.grammar_from_lark(lark), log_level=0, limits=LIMITS)
    for seed in range(_WALKS):
        if matcher.is_error() or not matcher.reset():
            return _first_line(matcher.get_error())
        choose = random.Random(seed)  # noqa: S311 - a walk, not a secret
        for _ in range(_STEPS):
            allowed = _allowed(matcher, control_ids)
            if matcher.is_error():
                return _first_line(matcher.get_error())
            if not allowed and not matcher.is_accepting():
                return "nothing can be written that fits"
            if not allowed or not matcher.consume_token(choose.choice(allowed)):
                break
    return None


def _allowed(matcher: LLMatcher, control_ids: Collection[int]) -> list[int]:
    """The tokens that may come next: control tokens if any, for they lead out of free text."""
    mask = matcher.compute_bitmask()
    control = [id for id in control_ids if mask[id // 8] >> id % 8 & 1]
    return control or [id for id in range(256 + len(control_ids)) if mask[id // 8] >> id % 8 & 1]


def _first_line(error: str) -> str:
    """The reason without its position, and without the grammar that is quoted below it."""
    line = error.split("\n", 1)[0].split("<non-verbose", 1)[0].strip()
    return line.split("JSON schema: ", 1)[-1][:200] or "it cannot be compiled"


def byte_tokenizer(vocabulary_size: int, control_tokens: Mapping[str, int]) -> LLTokenizer:
    """For trials of grammars that name those control tokens."""
    ends = control_tokens.values() or [0]
    return llg_tokenizer(ByteTokenizer(vocabulary_size, control_tokens), [min(ends)])


class Trial:
    """Tries grammars that name the control tokens of one vocabulary."""

    def __init__(self, vocabulary_size: int, control_tokens: Mapping[str, int]) -> None:
        self._tokenizer = byte_tokenizer(vocabulary_size, control_tokens)
        self._control_ids = sorted(control_tokens.values())

    def problem(self, lark: str) -> str | None:
        """Why the grammar cannot be used; None if it can."""
        return problem(lark, self._tokenizer, self._control_ids)
