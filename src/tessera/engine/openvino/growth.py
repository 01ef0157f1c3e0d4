"""How a sequence grows: by a sampled token, and then by all that leaves no choice.

Tokens that the grammar or the thinking budget forces are not sampled: they are appended together and go
through the next forward pass as one chunk.
"""

from tessera.core.generation import EngineFinish, TokenLogprob
from tessera.engine.openvino.sequence import Sequence


def grow(sequence: Sequence, token_id: int, context_tokens: int) -> EngineFinish | None:
    """Append a sampled token and what is forced after it; why the sequence ends with it, if it does.

    Raises `GenerationFailed` when the grammar cannot go on.
    """
    sequence.tokens.append(token_id)
    sequence.sampler.accept(token_id)
    if token_id in sequence.sampling.stop_token_ids:
        return "stop"
    _follow(sequence, token_id)
    if not _room(sequence, context_tokens):
        return "length"
    force(sequence, context_tokens)
    return None


def force(sequence: Sequence, context_tokens: int) -> None:
    """Append what must come next, if anything must. The last token there is room for is always sampled: the
    forward pass that follows expects one.
    """
    for token_id in _forced(sequence)[: _room(sequence, context_tokens) - 1]:
        sequence.tokens.append(token_id)
        sequence.sampler.accept(token_id)
        if sequence.sampling.top_logprobs is not None:
            sequence.logprobs.append(TokenLogprob(token_id, 0.0))  # certain
        _follow(sequence, token_id)


def _room(sequence: Sequence, context_tokens: int) -> int:
    """How many more tokens the sequence may have."""
    return min(sequence.n_left, context_tokens - len(sequence.tokens))


def _follow(sequence: Sequence, token_id: int) -> None:
    """The grammar and the thinking budget take note of a new token."""
    budget = sequence.sampling.thinking_budget
    if sequence.constraint:
        sequence.constraint.accept(token_id)
    if budget and sequence.thinking_left is not None:
        over = sequence.ends_with(budget.end)
        sequence.thinking_left = None if over else sequence.thinking_left - 1


def _forced(sequence: Sequence) -> list[int]:
    budget = sequence.sampling.thinking_budget
    if budget and sequence.thinking_left is not None and sequence.thinking_left <= 0:
        # Within a character, which takes a few tokens, a grammar has no place for the closing tag yet.
        if sequence.constraint is None or sequence.constraint.takes(budget.close_ids):
            sequence.thinking_left = None
            return list(budget.close_ids)
        return []
    # What a grammar forces is sampled all the same when logprobs are wanted: they come from the logits.
    if sequence.constraint and sequence.sampling.top_logprobs is None:
        return sequence.constraint.forced()
    return []
