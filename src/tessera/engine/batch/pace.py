"""How many prompt tokens a step may compute beside running streams, and how many of the streams decode in it.
Both follow from the measured durations of earlier steps.

The model of a step has two costs: a fixed one, and one for each token, be it of a prompt or of a sequence
that decodes. Each measured step corrects both, in proportion to their shares of the prediction. Least squares
would not work: under a steady load all steps have the same number of tokens, which does not determine two
unknowns.
"""

import math

PROMPT_TOKENS_AT_LEAST = 16
"""Prompts get as many in any step, so that they always progress. Passes of so many rows cost little more than
passes of one: both are bound by reading the weights.
"""

DECODING_AT_LEAST = 24
"""As many sequences decode in any step: with fewer, a step would not be much shorter."""

# By how much the number of sequences that decode may change from step to step.
_FEWER, _MORE = 0.7, 1.25

_STEP_OVER_TOKEN = 16.0
"""The fixed cost, in tokens, that is assumed until steps of different sizes have been measured."""

# Costs rise fast and fall slowly: prompt tokens cost more the further into a prompt they are, and it is the
# highest cost that matters. A single step counts at most twofold, since the first pass with a new number of
# rows compiles its kernels.
_RISE, _FALL, _MOST = 0.5, 0.2, 2.0


_USED = 0.9
"""How much of what fits is given to prompts: under a steady load the two parts are only roughly known."""

WITH_PROMPTS = 0.25
"""The part of the target that a step with prompts may last. The whole of it is for many streams at once, not
for one account's prompts: with half, an account that sends one prompt after the other doubled the longest
gaps of others (benchmarks/neighbours.py).
"""


class Pace:
    """Knows what steps cost. A step beside running streams should last `gap_s` at most, less with prompts."""

    def __init__(self, gap_s: float) -> None:
        self._gap_s = gap_s
        self._step_s = 0.0
        self._token_s = 0.0

    def measure(self, n_prompt: int, duration_s: float, n_decoding: int = 0) -> None:
        """Learns from a step that computed `n_prompt` tokens of prompts, beside so many that decoded."""
        n_tokens = n_prompt + n_decoding
        if not self._step_s:
            self._token_s = duration_s / (_STEP_OVER_TOKEN + n_tokens)
            self._step_s = self._token_s * _STEP_OVER_TOKEN
            return
        tokens_s = self._token_s * n_tokens
        expected_s = self._step_s + tokens_s
        error = min(duration_s / expected_s, _MOST) - 1
        error *= _RISE if error > 0 else _FALL
        self._step_s *= 1 + error * self._step_s / expected_s
        self._token_s *= 1 + error * tokens_s / expected_s

    def decoding(self, n_before: int, *, beside_prompts: bool) -> int:
        """How many sequences may decode in a step that keeps the target, if `n_before` decoded in a step
        before. `beside_prompts`: with the fewest tokens of prompts that a step computes.
        """
        n_beside = PROMPT_TOKENS_AT_LEAST if beside_prompts else 0
        change = self._fitting(n_beside, self._gap_s) / n_before if n_before else _MORE
        return max(DECODING_AT_LEAST, int(n_before * min(max(change, _FEWER), _MORE)))

    def prompt_tokens(self, most: int, n_decoding: int = 0) -> int:
        """How many a step may compute beside so many sequences that decode: a multiple of
        PROMPT_TOKENS_AT_LEAST, so that passes keep their number of rows for a while, or `most` if that is
        less.
        """
        fitting = min(_USED * self._fitting(n_decoding, WITH_PROMPTS * self._gap_s), most)
        if fitting == most:
            return most
        n_rounded = int(fitting // PROMPT_TOKENS_AT_LEAST) * PROMPT_TOKENS_AT_LEAST
        return min(most, max(n_rounded, PROMPT_TOKENS_AT_LEAST))

    def _fitting(self, n_beside: int, target_s: float) -> float:
        """How many tokens fit into a step of `target_s` beside these."""
        if not self._token_s or math.isinf(target_s):
            return math.inf
        return max(0.0, (target_s - self._step_s) / self._token_s - n_beside)
