"""What is read of vLLM's outputs: one `EngineCoreOutput` for each sequence that a step has advanced."""

from collections.abc import Mapping

from tessera.core.generation import EngineFinish, TokenLogprob
from tessera.engine.vllm.api import Foreign
from tessera.errors import GenerationFailed, GrammarFailed

# What a grammar forbids has a log-probability of minus infinity, which JSON cannot hold.
_LEAST_LOGPROB = -9999.0

_FINISHES: Mapping[str, EngineFinish] = {"stop": "stop", "length": "length"}


def finish_of(output: Foreign, *, constrained: bool) -> EngineFinish | None:
    """How the sequence ended; None while it goes on.

    Raises `GenerationFailed` if vLLM gave it up, without vLLM's reason, which may quote the grammar.
    """
    if output.finish_reason is None:
        return None
    finish = _FINISHES.get(str(output.finish_reason))
    if finish is not None:
        return finish
    if constrained:
        raise GrammarFailed("The grammar of this request could not be followed further.")
    raise GenerationFailed("The engine ended this generation.")


def cached_tokens(output: Foreign) -> int:
    """How many tokens of the prompt were cached; only the first output of a sequence says it."""
    stats = getattr(output, "prefill_stats", None)
    return int(getattr(output if stats is None else stats, "num_cached_tokens", 0) or 0)


def logprobs_of(output: Foreign, n_best: int) -> tuple[TokenLogprob, ...]:
    """An entry for each new token: the first column of its row is itself, the others are the best ones."""
    found, token_ids = output.new_logprobs, output.new_token_ids
    if found is None or not token_ids:
        return ()
    rows = zip(
        token_ids,
        found.logprob_token_ids[-len(token_ids) :].tolist(),
        found.logprobs[-len(token_ids) :].tolist(),
        strict=True,
    )
    return tuple(
        TokenLogprob(
            token_id,
            _bounded(values[0]),
            tuple((id, _bounded(value)) for id, value in zip(ids[1:], values[1:], strict=True))[:n_best],
        )
        for token_id, ids, values in rows
    )


def _bounded(logprob: float) -> float:
    return min(max(logprob, _LEAST_LOGPROB), 0.0)
