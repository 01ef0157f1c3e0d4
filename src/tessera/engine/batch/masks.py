"""Grammars followed in threads: after each token what is forced next, then the mask of what is allowed.

The engine's own thread does neither. A mask may take a second; and copies of one compiled grammar share a
lexer behind a lock, so following one of them waits for the masks of the others. Requests that have been slow
so far share one thread of low priority, which yields to the forward pass.
"""

import math
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from typing import Any

import numpy as np
from llguidance import LLMatcher
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask
from numpy.typing import NDArray

from tessera.engine.batch.constraint import Constraint, Forced
from tessera.errors import GrammarFailed
from tessera.processes.priority import yield_to_others
from tessera.processes.sharing import FairThreads

Bits = NDArray[np.uint32]
Compute = Callable[[LLMatcher, int], Bits]
Clock = Callable[[], float]


def compute_mask(matcher: LLMatcher, vocabulary_size: int) -> Bits:
    """Bit i, lowest first, is whether token i may come next. Raises `GrammarFailed`."""
    bits = allocate_token_bitmask(1, vocabulary_size)
    fill_next_token_bitmask(matcher, bits)
    if matcher.is_error():
        raise GrammarFailed("The grammar of this request could not be followed further.")
    return bits[0].view(np.uint32)


class Masks:
    """Threads for the grammars of all sequences."""

    def __init__(
        self, vocabulary_size: int, *, compute: Compute = compute_mask, clock: Clock = time.thread_time
    ) -> None:
        """`clock` returns the processor time of the calling thread, which other threads do not affect."""
        self._vocabulary_size = vocabulary_size
        self._compute = compute
        self._clock = clock
        self._quick = FairThreads(max(2, os.cpu_count() or 1), "masks")
        self._slow = FairThreads(1, "slow masks", yield_to_others)

    def submit(self, constraint: Constraint, account: bytes, follow: Callable[[], Forced]) -> None:
        """Runs `follow` in a thread, then computes the next mask. The results are set in
        `constraint.following` and `constraint.masking`.
        """
        following, masking = Future[Forced](), Future[tuple[Bits, float]]()
        constraint.following, constraint.masking = following, masking

        def work() -> None:
            if not (following.set_running_or_notify_cancel() and masking.set_running_or_notify_cancel()):
                return
            try:
                started_s = self._clock()
                following.set_result(follow())
                bits = self._compute(constraint.matcher, self._vocabulary_size)
                duration_s = self._clock() - started_s
                constraint.compiled.wear(duration_s)
                masking.set_result((bits, duration_s))
            except GrammarFailed as error:
                constraint.compiled.wear(math.inf)
                _fail(error, following, masking)
            except Exception as error:  # whatever it is, it is this request's failure and not the engine's
                failure = GrammarFailed("The grammar of this request could not be followed further.")
                failure.__cause__ = error
                _fail(failure, following, masking)

        (self._slow if constraint.effort.is_slow else self._quick).submit(account, work)


def settle(futures: Iterable[Future[Any]], most_s: float) -> None:
    """Waits until all futures are done, for at most `most_s`."""
    pending = [future for future in futures if not future.done()]
    if pending:
        wait(pending, most_s)


def _fail(error: GrammarFailed, *futures: Future[Forced] | Future[tuple[Bits, float]]) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)
