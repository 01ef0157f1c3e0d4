"""How a sequence grows: by a sampled token, and then by all that leaves no choice.

Tokens that the grammar or the thinking budget forces are not sampled: they are appended together and go
through the next forward pass as one chunk.
"""

from tessera.core.generation import EngineFinish
from tessera.engine.openvino.sequence import Sequence


def grow(sequence: Sequence, token_id: int, context_tokens: int) -> EngineFinish | None:
    """Append a token and what is forced after it; why the sequence ends with that, if it does.

    Raises `GenerationFailed` when the grammar cannot go on.
    """
    return _append(sequence, token_id, context_tokens) or force(sequence, context_tokens)


def force(sequence: Sequence, context_tokens: int) -> EngineFinish | None:
    """Append what must come next, if anything must."""
    for token_id in _forced(sequence):
        if finish := _append(sequence, token_id, context_tokens):
            return finish
    return None


def _append(sequence: Sequence, token_id: int, context_tokens: int) -> EngineFinish | None:
    sampling, budget = sequence.sampling, sequence.sampling.thinking_budget
    sequence.tokens.append(token_id)
    sequence.sampler.accept(token_id)
    if token_id in sampling.stop_token_ids:
        return "stop"
    if sequence.constraint:
        sequence.constraint.accept(token_id)
    if budget and sequence.thinking_left is not None:
        over = sequence.ends_with(budget.end)
        sequence.thinking_left = None if over else sequence.thinking_left - 1
    full = len(sequence.tokens) >= context_tokens or sequence.n_output >= sampling.max_tokens
    return "length" if full else None


def _forced(sequence: Sequence) -> list[int]:
    budget = sequence.sampling.thinking_budget
    if budget and sequence.thinking_left is not None and sequence.thinking_left <= 0:
        # Within a character, which takes a few tokens, a grammar has no place for the closing tag yet.
        if sequence.constraint is None or sequence.constraint.takes(budget.close_ids):
            sequence.thinking_left = None
            return list(budget.close_ids)
        return []
    # Every token is sampled when logprobs are wanted: they come from the logits before it.
    if sequence.constraint and sequence.sampling.top_logprobs is None:
        return sequence.constraint.forced()
    return []
