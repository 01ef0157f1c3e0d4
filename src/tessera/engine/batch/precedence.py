"""Lower priorities sit out the steps that compute a prompt of a higher one.

A step lasts as long as everything in it. Beside many sequences that decode, a prompt gets few tokens of a
step and each step is long: 500 tokens beside 32 sequences take 32 steps, alone they take two.
"""

from collections.abc import Collection

from tessera.engine.batch.sequence import TokenSequence

MOST_STEPS = 2
"""After as many steps in a row without the lower priorities comes one with all: a step that only computes
prompts may last longer than the target gap.
"""


class Precedence:
    """Chooses the sequences that take part in a step. `n_steps` counts the steps in a row, up to the last,
    in which lower priorities sat out.
    """

    def __init__(self) -> None:
        self.n_steps = 0

    def choose(self, active: Collection[TokenSequence]) -> list[TokenSequence]:
        """All sequences, or only the highest priority that has a prompt to compute and those above it."""
        with_prompts = (each.rank[0] for each in active if not each.streams)
        last = min(with_prompts, default=None)
        if last is None or self.n_steps == MOST_STEPS:
            self.n_steps = 0
            return [*active]
        chosen = [each for each in active if each.rank[0] <= last]
        self.n_steps = self.n_steps + 1 if len(chosen) < len(active) else 0
        return chosen
