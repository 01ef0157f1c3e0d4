"""Bounds the work for the grammars of one request. It is counted in steps, not in time, so that a verdict
depends on the request alone, however busy the machine is.
"""

import math

CHARACTERS_PER_STEP = 32
"""In the text of a grammar. Other steps are visits of a schema or of a constant, of 20 to 50 µs each."""

BRIEF_VISIT = 0.3
"""The steps of a visit that does little."""


class TooMuchWork(Exception):
    """The steps are used up."""


class Work:
    """The steps that are left; any number by default."""

    def __init__(self, n_steps: float = math.inf) -> None:
        self._n_left = n_steps

    @property
    def is_used_up(self) -> bool:
        return self._n_left < 0

    def spend(self, n_steps: float = 1) -> None:
        """Counts steps; raises `TooMuchWork` if fewer were left."""
        self._n_left -= n_steps
        if self.is_used_up:
            raise TooMuchWork
