"""Extends a sequence by a sampled token, and then by the tokens that must follow it.

Tokens that the grammar or the thinking budget forces are not sampled: they are appended together and go
through the next forward pass as one chunk. This takes three steps: `grow` appends the sampled token; the job
that `follow` returns finds what is forced, in another thread if there is a grammar; `force` appends that.
"""

from collections.abc import Callable
from functools import partial

from tessera.core.generation import EngineFinish, TokenLogprob
from tessera.engine.batch.constraint import Constraint, Forced
from tessera.engine.batch.sequence import TokenSequence

_NOTHING = Forced([])


def grow(sequence: TokenSequence, token_id: int, context_tokens: int) -> EngineFinish | None:
    """Appends a sampled token. Returns why the sequence ends with it, or None; then `follow` comes next."""
    sequence.tokens.append(token_id)
    sequence.sampler.accept(token_id)
    if token_id in sequence.sampling.stop_token_ids:
        return "stop"
    _count_thinking(sequence)
    return None if _room(sequence, context_tokens) else "length"


def follow(sequence: TokenSequence, token_id: int | None, context_tokens: int) -> Callable[[], Forced]:
    """Returns a job that finds the tokens that must come next. If the sequence has a grammar, the job first
    lets it accept `token_id`, unless that is None.

    The job changes nothing but the constraint, and raises `GrammarFailed` if the grammar cannot go on. It
    always leaves room for one more token: a forward pass ends with a token that is sampled.
    """
    n_most = _room(sequence, context_tokens) - 1
    budget = sequence.sampling.thinking_budget
    over = budget is not None and sequence.thinking_left is not None and sequence.thinking_left <= 0
    close_ids = budget.close_ids if budget and over else None
    if sequence.constraint is None:
        return lambda: Forced([*close_ids[:n_most]], closes=True) if close_ids else _NOTHING
    # What a grammar forces is sampled all the same when logprobs are wanted: they come from the logits.
    forces = sequence.sampling.top_logprobs is None
    return partial(_follow, sequence.constraint, token_id, close_ids=close_ids, forces=forces, n_most=n_most)


def force(sequence: TokenSequence, forced: Forced) -> None:
    """Appends the tokens that must come next."""
    if forced.closes:
        sequence.thinking_left = None
    for token_id in forced.token_ids:
        sequence.tokens.append(token_id)
        sequence.sampler.accept(token_id)
        if sequence.sampling.top_logprobs is not None:
            sequence.logprobs.append(TokenLogprob(token_id, 0.0))  # certain
        _count_thinking(sequence)


def _follow(
    constraint: Constraint,
    token_id: int | None,
    *,
    close_ids: tuple[int, ...] | None,
    forces: bool,
    n_most: int,
) -> Forced:
    if token_id is not None:
        constraint.accept(token_id)
    forced = _NOTHING
    if close_ids is not None:
        # Within a character, which takes a few tokens, a grammar has no place for the closing tag yet.
        if constraint.takes(close_ids):
            forced = Forced([*close_ids[:n_most]], closes=True)
    elif forces:
        forced = Forced(constraint.forced()[:n_most])
    for each in forced.token_ids:
        constraint.accept(each)
    return forced


def _room(sequence: TokenSequence, context_tokens: int) -> int:
    """How many more tokens the sequence may have."""
    return min(sequence.n_left, context_tokens - len(sequence.tokens))


def _count_thinking(sequence: TokenSequence) -> None:
    """Counts the last token against the thinking budget, while the sequence reasons."""
    budget = sequence.sampling.thinking_budget
    if budget and sequence.thinking_left is not None:
        over = sequence.ends_with(budget.end)
        sequence.thinking_left = None if over else sequence.thinking_left - 1
