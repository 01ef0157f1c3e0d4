"""How our sampling becomes vLLM's: a table with a line for each field.

| ours                       | vLLM's                                                                      |
|----------------------------|-----------------------------------------------------------------------------|
| `temperature` under 1e-5   | 0, which is greedy; from there to 0.01 it raises to 0.01, and 2 is its most |
| `top_p` 0                  | refused: the best token alone, by `top_k`                                   |
| `min_p`                    | the same, but applied before `top_k` and `top_p`                            |
| penalties beyond ±2        | refused: the nearest that it takes                                          |
| ids beyond the vocabulary  | refused: left out of stop tokens and biases                                 |
| `seed` + sequence          | any 63 bits; a negative one would mean a random one                         |
| `n`                        | one request for each sequence, since greedy ones are refused with n > 1     |
| `thinking_budget`          | part of the grammar (`thinking`)                                            |
"""

from tessera.core.generation import Sampling

_GREEDY_BELOW = 1e-5
_LEAST_TEMPERATURE, _MOST_TEMPERATURE = 0.01, 2.0
_MOST_PENALTY = 2.0
_SEEDS = 2**63


def sampling_fields(sampling: Sampling, sequence: int, vocabulary_size: int) -> dict[str, object]:
    """The arguments of vLLM's `SamplingParams` for one sequence, without its grammar."""
    top_p, top_k = (sampling.top_p, sampling.top_k) if sampling.top_p > 0 else (1.0, 1)
    bias = {id: value for id, value in sampling.logit_bias.items() if 0 <= id < vocabulary_size}
    return {
        "max_tokens": sampling.max_tokens,
        "temperature": _temperature(sampling.temperature),
        "top_p": top_p,
        "top_k": top_k,
        "min_p": sampling.min_p,
        "presence_penalty": _penalty(sampling.presence_penalty),
        "frequency_penalty": _penalty(sampling.frequency_penalty),
        "repetition_penalty": sampling.repetition_penalty,
        "logit_bias": bias or None,
        "seed": None if sampling.seed is None else (sampling.seed + sequence) % _SEEDS,
        "stop_token_ids": sorted(id for id in sampling.stop_token_ids if 0 <= id < vocabulary_size),
        "logprobs": sampling.top_logprobs,
        # The tokens that end a turn are all in `stop_token_ids`, and text is none of an engine's business.
        "ignore_eos": True,
        "detokenize": False,
    }


def _temperature(given: float) -> float:
    return 0.0 if given < _GREEDY_BELOW else min(max(given, _LEAST_TEMPERATURE), _MOST_TEMPERATURE)


def _penalty(given: float) -> float:
    return min(max(given, -_MOST_PENALTY), _MOST_PENALTY)
