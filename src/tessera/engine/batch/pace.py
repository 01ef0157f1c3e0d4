"""How many prompt tokens a step may compute beside running streams, and how many of these may decode in it,
learned from the steps before.

A step is taken to cost a fixed part, which the decoding sequences pay for in any case, and a part for each
prompt token. Every measured step corrects both parts, each by its share of the prediction. No least squares:
under a steady load all steps have the same number of prompt tokens, and a fit of two unknowns is lost there.
"""

PROMPT_TOKENS_AT_LEAST = 16
"""Prompts get as many in any step, so that they always progress. Passes of so many rows cost little more than
passes of one: both are bound by reading the weights.
"""

DECODING_AT_LEAST = 24
"""As many sequences decode in any step: with fewer, a step would not be much shorter."""

# By how much the number of sequences that decode may change from step to step.
_FEWER, _MORE = 0.7, 1.25

_STEP_OVER_TOKEN = 16.0
"""How many prompt tokens a step is taken to cost before the two were seen apart."""

# A cost that rises is believed at once, one that falls only slowly: prompt tokens cost more the further into
# a prompt they are, and what must not be missed is the highest. A single step counts twofold at most, since
# the first pass with a new number of rows makes its kernels.
_RISE, _FALL, _MOST = 0.5, 0.2, 2.0


class Pace:
    """Knows what steps cost; a step beside running streams should last `gap_s` at most."""

    def __init__(self, gap_s: float) -> None:
        self._gap_s = gap_s
        self._step_s = 0.0
        self._token_s = 0.0
        self._n_decoding = 0

    def measure(self, n_prompt: int, duration_s: float, n_decoding: int = 0) -> None:
        """Learn from a step that computed `n_prompt` tokens of prompts, beside so many that decoded."""
        self._n_decoding = n_decoding
        if not self._step_s:
            self._token_s = duration_s / (_STEP_OVER_TOKEN + n_prompt)
            self._step_s = self._token_s * _STEP_OVER_TOKEN
            return
        prompts_s = self._token_s * n_prompt
        expected_s = self._step_s + prompts_s
        error = min(duration_s / expected_s, _MOST) - 1
        error *= _RISE if error > 0 else _FALL
        self._step_s *= 1 + error * self._step_s / expected_s
        self._token_s *= 1 + error * prompts_s / expected_s

    def decoding(self, *, beside_prompts: bool) -> int:
        """How many sequences may decode in a step that keeps the target. `beside_prompts`: with the fewest
        tokens of prompts that a step computes.
        """
        target_s = self._gap_s - (PROMPT_TOKENS_AT_LEAST * self._token_s if beside_prompts else 0)
        change = max(target_s, 0) / self._step_s if self._step_s else _MORE
        return max(DECODING_AT_LEAST, int(self._n_decoding * min(max(change, _FEWER), _MORE)))

    def prompt_tokens(self, most: int) -> int:
        """How many fit into the target: a multiple of PROMPT_TOKENS_AT_LEAST, so that passes keep their
        number of rows for a while, or `most` if that is less.
        """
        spare_s = self._gap_s - self._step_s
        fitting = most if spare_s >= most * self._token_s else max(0, int(spare_s / self._token_s))
        rounded = fitting - fitting % PROMPT_TOKENS_AT_LEAST
        return min(most, max(rounded, PROMPT_TOKENS_AT_LEAST))
