"""Tries grammars before they are used: compiles them, and follows them along a few random walks.

Compiling depends on the vocabulary's control tokens only. What a mask costs depends on how long tokens are:
llguidance follows each of them byte by byte, and its automata grow on the way. The vocabulary here is made of
all bytes and of words as in a real one. They are always the same, so a verdict depends on the grammar alone.
"""

import random
from collections.abc import Mapping, Sequence

from llguidance import LLMatcher

from tessera.grammars.bytewise import WordTokenizer
from tessera.grammars.llg import llg_tokenizer, parser_limits
from tessera.grammars.question import GrammarLimits

_LETTERS = "etaoinshrdlucmfwypvbgkjqxz"
_DIGITS = "0123456789"
_MARKS = '"{}[],:\\ \n./-_'
_LONGEST_WORD = 12
_WORDS_OF_A_LENGTH = 800
_TRIED_WORDS = 64
_STEPS = 48
_WALKS = 3
_NOTHING_FITS = "nothing can be written that fits"


class Trial:
    """Tries grammars that name the control tokens of one vocabulary."""

    def __init__(
        self,
        vocabulary_size: int,
        control_tokens: Mapping[str, int],
        limits: GrammarLimits = GrammarLimits(),  # noqa: B008 - frozen
    ) -> None:
        """`limits` are those of the engine that will follow the grammars."""
        self._limits = parser_limits(limits)
        tokenizer = WordTokenizer(vocabulary_size, control_tokens, _words())
        self._tokenizer = llg_tokenizer(tokenizer, [min(control_tokens.values() or [0])])
        self._control_ids = sorted(control_tokens.values())
        self._word_ids = tokenizer.word_ids

    def problem(self, lark: str) -> str | None:
        """Why the grammar cannot be used; None if it can. It may not compile, admit no reply, or exceed
        llguidance's limits while it is followed. The walks find the last: automata are built on the way, long
        after the grammar compiled.
        """
        grammar = LLMatcher.grammar_from_lark(lark)
        matcher = LLMatcher(self._tokenizer, grammar, log_level=0, limits=self._limits)
        for seed in range(_WALKS):
            if matcher.is_error() or not matcher.reset():
                return _first_line(matcher.get_error())
            choose = random.Random(seed)  # noqa: S311 - no secret depends on it
            for _ in range(_STEPS):
                allowed = self._allowed(matcher, choose.sample(self._word_ids, _TRIED_WORDS))
                if matcher.is_error():
                    return _first_line(matcher.get_error())
                if not allowed and not matcher.is_accepting():
                    return _NOTHING_FITS
                if not allowed or not matcher.consume_token(choose.choice(allowed)):
                    break
        return None

    def _allowed(self, matcher: LLMatcher, word_ids: Sequence[int]) -> list[int]:
        """The tokens that may come next. If control tokens are among them, only those: they end free text."""
        mask = matcher.compute_bitmask()
        control = [id for id in self._control_ids if mask[id // 8] >> id % 8 & 1]
        others = (*range(256 + len(self._control_ids)), *word_ids)
        return control or [id for id in others if mask[id // 8] >> id % 8 & 1]


def _first_line(error: str) -> str:
    """The reason, without its position and without the grammar that is quoted below it."""
    line = error.split("\n", 1)[0].split("<non-verbose", 1)[0].strip()
    if line.endswith("NoExtensionBias"):  # the lexer is left without any text
        return _NOTHING_FITS
    return line.split("JSON schema: ", 1)[-1][:200] or "it cannot be compiled"


def _words() -> list[str]:
    """Words of all usual lengths, with letters as frequent as in English, and the marks of JSON."""
    choose = random.Random(0)  # noqa: S311 - no secret depends on it
    weights = range(len(_LETTERS) + 4, 4, -1)
    words = {
        "".join(choose.choices(_LETTERS, weights, k=length))
        for length in range(2, _LONGEST_WORD + 1)
        for _ in range(_WORDS_OF_A_LENGTH)
    }
    plain = sorted(words)
    words |= {" " + word for word in plain[::2]} | {word.capitalize() for word in plain[::5]}
    words |= {a + b for marks in (_DIGITS, _MARKS) for a in marks for b in marks}
    return sorted(words)
