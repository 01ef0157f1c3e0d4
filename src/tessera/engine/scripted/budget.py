"""The most reasoning that a script may play."""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from tessera.core.generation import ThinkingBudget


def within_budget(tokens: Iterator[int], budget: ThinkingBudget, end: Sequence[int]) -> Iterator[int]:
    """Closes the reasoning at the budget; skips the rest of it in the script, and what would repeat
    `close_ids`. `end` are the tokens that end reasoning.
    """
    recent: deque[int] = deque(maxlen=len(end))
    for n, token in enumerate(tokens):
        recent.append(token)
        over = [*recent] == [*end]
        if n >= budget.n_tokens and not over:
            yield from budget.close_ids
            _skip(itertools.chain(recent, tokens), end)
            closing = iter(budget.close_ids)
            _skip(closing, end)
            yield from _without(tokens, closing)
            return
        yield token
        if over:
            break
    yield from tokens


def _skip(tokens: Iterator[int], end: Sequence[int]) -> None:
    recent: deque[int] = deque(maxlen=len(end))
    for token in tokens:
        recent.append(token)
        if [*recent] == [*end]:
            return


def _without(tokens: Iterator[int], repeated: Iterable[int]) -> Iterator[int]:
    for expected in repeated:
        token = next(tokens, None)
        if token != expected:
            yield from () if token is None else (token,)
            break
    yield from tokens
