"""Drafts of what comes next, looked up in what the sequence has said before.

Text repeats itself: code that is edited, passages that are quoted, JSON. If the last tokens have occurred
before, the tokens that followed them then are a guess at those that follow now. A forward pass computes the
guess as further tokens, and each position is sampled as if there were no guess. The guess is accepted up to
the first token that differs from the sampled one, so the output never depends on it. (Prompt lookup decoding;
the verification is that of Leviathan et al. 2022, arXiv 2211.17192, for a draft without a distribution.)

A pass with another number of rows than the pass before costs more, because it is prepared again: in OpenVINO
half a pass. So a pass has either no draft or a whole one, and this changes seldom. How many tokens a draft
would have brought is counted whether or not it was computed, so it is always known which of the two is worth
more.
"""

from collections.abc import Sequence

DRAFT_TOKENS = 7
"""The length of every draft. With the sampled token, a pass of one row becomes one of eight."""

_PAIR = 2**42 - 1
"""Two tokens of 21 bits: the mask of their key."""

_RATE = 0.1
_FIRST_YIELD = 1.4

# A pass with a draft has to bring clearly more, or clearly less, tokens than it costs before the rows change.
_ENOUGH, _TOO_FEW = 1.1, 0.9


class Lookup:
    """The guesses of one sequence. `tokens` is its list of tokens, which only grows."""

    def __init__(self, tokens: Sequence[int], cost: float) -> None:
        """The tokens that are there already are the prompt: guesses come from it, but it is not guessed.
        `cost` is that of a pass with a draft, in passes without one.
        """
        self._tokens = tokens
        self._enough, self._too_few = _ENOUGH * cost, _TOO_FEW * cost
        self._after: dict[int, int] = {}  # where what came after a token, or two, stood last
        self._key = 0
        self._n_followed = 0
        self._source: int | None = None
        self._n_right = 0
        self._drafts = False
        self._yield = _FIRST_YIELD
        self.follow()
        self._n_right, self._drafts, self._yield = 0, False, _FIRST_YIELD

    def follow(self) -> None:
        """Counts how far the guess was right about the new tokens, and notes where each of them stands."""
        tokens = self._tokens
        for position in range(self._n_followed, len(tokens)):
            token = tokens[position]
            pair = (self._key << 21 | token) & _PAIR
            if self._source is not None and self._n_right < DRAFT_TOKENS and tokens[self._source] == token:
                self._n_right += 1
                self._source += 1
            else:
                self._end_pass()
                self._source = self._after.get(pair, self._after.get(~token))
            self._after[pair] = self._after[~token] = position + 1
            self._key = token
        self._n_followed = len(tokens)

    def draft(self) -> list[int]:
        """The tokens that may come next; empty if computing them is not worth the rows."""
        if not self._drafts:
            return []
        source, tokens = self._source, self._tokens
        if source is None:
            return [tokens[-1]] * DRAFT_TOKENS
        drafted = list(tokens[source : source + DRAFT_TOKENS])
        period = len(tokens) - source  # a text that repeats itself right away goes on so
        while len(drafted) < DRAFT_TOKENS:
            drafted.append(drafted[-period])
        return drafted

    def _end_pass(self) -> None:
        """Counts what a pass with a draft would have brought: the tokens that were right, and one more."""
        self._yield += _RATE * (1 + self._n_right - self._yield)
        self._n_right = 0
        self._drafts = self._yield > (self._too_few if self._drafts else self._enough)
