"""How much work the grammars of one request may be, counted in steps and not in time: what it decides depends
on the request alone, however busy the machine is.
"""

import math

CHARACTERS_PER_STEP = 32
"""Of a grammar's text. All other steps are visits of a schema or of a constant: 20 to 50 µs each."""


A_GLANCE = 0.3
"""In steps: a visit that asks for little."""


class TooMuchWork(Exception):
    """The steps are used up."""


class Work:
    """Steps that are left; without a number, any."""

    def __init__(self, n_steps: float = math.inf) -> None:
        self._n_left = n_steps

    @property
    def is_used_up(self) -> bool:
        """Whether no further step can be taken."""
        return self._n_left < 0

    def spend(self, n_steps: float = 1) -> None:
        """Count steps; raises `TooMuchWork` when there were not as many left."""
        self._n_left -= n_steps
        if self.is_used_up:
            raise TooMuchWork
