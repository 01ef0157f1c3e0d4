"""Drafts of what comes next, looked up in what the sequence has said before.

Text repeats itself: code that is edited, passages that are quoted, JSON. Where the last tokens stood once
already, those that followed then are a guess at those that follow now. A forward pass takes the guess along
as further tokens, and each of its positions is sampled as if there had been none: the guess is kept as far as
it says the same, so the output never depends on it. (Prompt lookup decoding; the verification is that of
Leviathan et al. 2022, arXiv 2211.17192, for a draft without a distribution.)

A guess is made for every token, and counted as right or wrong whether or not it was computed: so it is known
at any time how much a draft of this sequence is worth.
"""

from collections.abc import Sequence

_CONTEXT = 2**42 - 1
"""Two tokens of 21 bits must have stood together before; the mask of their key."""

MOST_ROWS = 8
"""A pass with a draft has no more rows than this."""

_RATE = 0.1
_FIRST_CHANCE = 0.3

_WORTH = 0.2
"""A row costs about a fifth of a pass of one row: a token less likely than this costs more than it saves."""


class Lookup:
    """The guesses of one sequence. `tokens` is its list, which only ever grows."""

    def __init__(self, tokens: Sequence[int]) -> None:
        """What is there already, the prompt, is looked up but not guessed."""
        self._tokens = tokens
        self._after: dict[int, int] = {}  # what stood last after the key's two tokens: where
        self._key = 0
        self._n_followed = 0
        self._source: int | None = None
        self._chance = _FIRST_CHANCE
        self.follow()
        self._chance = _FIRST_CHANCE

    def follow(self) -> None:
        """Take note of the tokens that are new."""
        tokens, source = self._tokens, self._source
        for position in range(self._n_followed, len(tokens)):
            token = tokens[position]
            if source is not None:
                is_right = tokens[source] == token
                self._chance += _RATE * (is_right - self._chance)
                source = source + 1 if is_right else None
            self._key = (self._key << 21 | token) & _CONTEXT
            if source is None:
                source = self._after.get(self._key)
            self._after[self._key] = position + 1
        self._source, self._n_followed = source, len(tokens)

    def draft(self, longest: int) -> list[int]:
        """What may come next: tokens as long as they are likely enough to be worth their rows."""
        drafted: list[int] = []
        if self._source is None:
            return drafted
        chance = self._chance
        while chance > _WORTH and len(drafted) < longest:
            position = self._source + len(drafted)
            beyond = position - len(self._tokens)  # a text that repeats itself right away goes on so
            drafted.append(self._tokens[position] if beyond < 0 else drafted[beyond])
            chance *= self._chance
        return drafted
