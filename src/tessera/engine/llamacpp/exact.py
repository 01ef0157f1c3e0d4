"""Passes of an exact context: what comes of a row does not depend on what else is computed.

A product with a matrix that is not quantised, such as the router of a mixture of experts, rounds otherwise
for a single row than for several, which all give the same bits (measured with 1 to 6 rows). So no row is
computed by itself: neither in a pass, nor in the last layer, which computes only sampled rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tessera.engine.llamacpp.context import Context, Span

_LEAST_ROWS = 2


def run_exactly(context: Context, spans: Sequence[Span], spare: int) -> NDArray[np.float32]:
    """Computes what `Context.run` does, in several passes; `spare` is an id that no sequence has."""
    found = [np.empty((0, context.model.vocabulary_size), np.float32) for _ in spans]
    single = [index for index, span in enumerate(spans) if len(span.token_ids) == 1]
    most = context.params.n_at_once - 1
    for begin in range(0, len(single), most):
        group = single[begin : begin + most]
        filling = [Span(spare, 0, [0], 1)] if len(group) < _LEAST_ROWS else []
        rows = context.run([*(replace(spans[index], n_sampled=1) for index in group), *filling])
        for row, index in enumerate(group):
            found[index] = rows[row : row + spans[index].n_sampled].copy()
        if filling:
            context.remove(spare)
    for index, span in enumerate(spans):
        if len(span.token_ids) > 1:
            for part in _parts(span, context.params.n_at_once):
                found[index] = context.run([part])[part.n_sampled - span.n_sampled :].copy()
    return np.concatenate(found)


def _parts(span: Span, most: int) -> Iterator[Span]:
    """The span in pieces of at most so many tokens, none of which is a single one."""
    n_done, n_tokens = 0, len(span.token_ids)
    while (n_left := n_tokens - n_done) > most:
        n_next = min(most, n_left - _LEAST_ROWS)
        yield Span(span.id, span.n_past + n_done, span.token_ids[n_done : n_done + n_next], 0)
        n_done += n_next
    n_sampled = max(_LEAST_ROWS, span.n_sampled) if span.n_sampled else 0
    yield Span(span.id, span.n_past + n_done, span.token_ids[n_done:], n_sampled)
