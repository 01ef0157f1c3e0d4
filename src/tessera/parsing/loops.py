"""Notices that a generation repeats itself without an end, by its token ids alone."""

from array import array
from collections.abc import Sequence

REPETITIONS = 4
"""A block that stands in a row so often, and fills the whole window, is a loop."""

LOOKS = 8
"""The window is looked at each time that so large a part of it, an eighth, is new: a look may take 0.2 ms."""


class LoopDetector:
    """Reads the tokens of one choice.

    A loop is a window of the last `n_tokens` tokens that is one block over and over, `REPETITIONS` times at
    least. It is noticed at the latest `n_tokens // LOOKS` tokens after the window is full of it.
    """

    def __init__(self, n_tokens: int) -> None:
        self._n_tokens = n_tokens
        self._every = max(1, n_tokens // LOOKS)
        self._n_until_look = n_tokens
        self._window: list[int] = []

    def feed(self, token_ids: Sequence[int]) -> int | None:
        """Reads more tokens. Returns after how many of them a loop is noticed; None if there is none."""
        begin = 0
        while len(token_ids) - begin >= self._n_until_look:
            end = begin + self._n_until_look
            self._window += token_ids[begin:end]
            del self._window[: -self._n_tokens]
            if repeats_itself(self._window):
                return end
            self._n_until_look = self._every
            begin = end
        self._window += token_ids[begin:]
        self._n_until_look -= len(token_ids) - begin
        return None


def repeats_itself(tokens: Sequence[int]) -> bool:
    """Whether all of the tokens are one block, `REPETITIONS` times or more; the last time may be cut."""
    longest = len(tokens) // REPETITIONS
    if len(set(tokens)) > longest:  # so it is with nearly all text
        return False
    written = array("q", tokens)
    size, spelled = written.itemsize, written.tobytes()
    return any(
        spelled[n * size :] == spelled[: -n * size]
        for n in range(1, longest + 1)
        if tokens[-1] == tokens[-1 - n]
    )
