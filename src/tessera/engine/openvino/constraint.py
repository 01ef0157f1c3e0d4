"""Grammars in the engine: compiled off its thread, and followed token by token.

The work is llguidance's (Earley parsing over derivatives of regular expressions, with a trie of the
vocabulary). All of its heavy calls release the interpreter's lock.
"""

import threading
from collections import OrderedDict
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from llguidance import LLMatcher
from numpy.typing import NDArray

from tessera.core.generation import Grammar
from tessera.errors import GrammarFailed, GrammarTooSlow
from tessera.processes.lanes import Lane
from tessera.text.llg import LIMITS, llg_tokenizer
from tessera.text.tokenizer import Tokenizer

_N_COMPILERS = 2
"""One account's grammars, however slow, have one of these threads."""

KEPT_BYTES = 4 * 2**20
"""How much grammar text stays compiled; a compiled grammar is some hundred times the size of its text."""

# Usual masks take tens of microseconds, and now and then some milliseconds. What a request may spend is a sum
# for its rare slow ones, and an allowance for each mask.
BUDGET_S, BUDGET_PER_MASK_S = 2.0, 0.01
_SLOW_S, _SLOW_PER_MASK_S = 0.05, 0.002


@dataclass(slots=True)
class Effort:
    """Processor time that the masks of one request have taken, over all of its sequences."""

    spent_s: float = 0.0
    n_masks: int = 0

    @property
    def is_slow(self) -> bool:
        """Whether others should not wait for this request's masks."""
        return self.spent_s > _SLOW_S + _SLOW_PER_MASK_S * self.n_masks

    def add(self, duration_s: float) -> None:
        """Count one mask; raises `GrammarTooSlow` when the budget is spent."""
        self.spent_s += duration_s
        self.n_masks += 1
        if self.spent_s > BUDGET_S + BUDGET_PER_MASK_S * self.n_masks:
            raise GrammarTooSlow(
                f"Following the schemas of this request took {self.spent_s:.1f} s of processor time for "
                f"{self.n_masks} tokens. Simplify their patterns: a counted repetition, such as a.{{20}}b, "
                "is slow."
            )


class Forced(NamedTuple):
    """Tokens that leave no choice, already accepted by the grammar; `closes` if they end the reasoning."""

    token_ids: list[int]
    closes: bool = False


class Constraint:
    """What the grammar of one sequence allows next.

    While `following` or `masking` is not done, the matcher belongs to the thread that computes them.
    """

    def __init__(self, matcher: LLMatcher, effort: Effort | None = None) -> None:
        self.matcher = matcher
        self.effort = effort or Effort()
        self.following: Future[Forced] | None = None
        self.masking: Future[tuple[NDArray[np.uint32], float]] | None = None

    def copy(self) -> "Constraint":
        """Another follower of the same request, from the same state on."""
        copied = Constraint(self.matcher.deep_copy(), self.effort)
        copied.masking = self.masking
        return copied

    def cancel(self) -> None:
        """Nobody waits for what is being computed."""
        for future in (self.following, self.masking):
            if future:
                future.cancel()

    @property
    def is_ready(self) -> bool:
        """Whether the mask for the next token is there."""
        return self.masking is not None and self.masking.done()

    def take_mask(self) -> NDArray[np.uint32]:
        """The mask, which `is_ready`. Raises `GrammarFailed` if there is none, or it took too long."""
        assert self.masking is not None
        mask, duration_s = self.masking.result()
        self.effort.add(duration_s)
        return mask

    def accept(self, token_id: int) -> None:
        """Follow one token; raises `GrammarFailed` if the grammar has no place for it."""
        if not self.matcher.consume_token(token_id):
            raise GrammarFailed("The grammar of this request could not be followed further.")

    def takes(self, token_ids: Sequence[int]) -> bool:
        """Whether these may come next."""
        return self.matcher.validate_tokens([*token_ids]) == len(token_ids)

    def forced(self) -> list[int]:
        """The tokens that must come next, as far as there is no choice; they are not accepted yet."""
        return self.matcher.compute_ff_tokens()


class Grammars:
    """Compiles grammars in threads and keeps what it compiled, least recently used out first."""

    def __init__(self, tokenizer: Tokenizer, end_ids: Collection[int], vocabulary_size: int) -> None:
        """See `llg_tokenizer`, which takes a second: it is made in a thread, before the first grammar."""
        self._lane = Lane(_N_COMPILERS, "grammars")
        self._tokenizer = self._lane.call(b"", lambda: llg_tokenizer(tokenizer, end_ids, vocabulary_size))
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, LLMatcher] = OrderedDict()
        self._kept_bytes = 0

    def constrain(self, grammar: Grammar, account: bytes = b"") -> Future[Constraint]:
        """A follower of the grammar; the future raises `GrammarFailed` if it does not compile. Accounts take
        turns.
        """
        return self._lane.call(account, lambda: self._compile(grammar.lark))

    def _compile(self, lark: str) -> Constraint:
        with self._lock:
            matcher = self._kept.get(lark)
        if matcher is None:
            matcher = self._matcher(lark)
        with self._lock:
            self._keep(lark, matcher)
        return Constraint(matcher.deep_copy())

    def _matcher(self, lark: str) -> LLMatcher:
        try:
            tokenizer, grammar = self._tokenizer.result(), LLMatcher.grammar_from_lark(lark)
            matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=LIMITS)
        except Exception as error:  # whatever it is, it is this request's failure and not the engine's
            raise GrammarFailed("The grammar of this request cannot be read.") from error
        if matcher.is_error():
            raise GrammarFailed("The grammar of this request does not compile.")
        return matcher

    def _keep(self, lark: str, matcher: LLMatcher) -> None:
        if lark not in self._kept:
            self._kept[lark] = matcher
            self._kept_bytes += len(lark)
        self._kept.move_to_end(lark)
        while self._kept_bytes > KEPT_BYTES and len(self._kept) > 1:
            self._kept_bytes -= len(self._kept.popitem(last=False)[0])
