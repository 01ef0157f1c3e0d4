"""Grammars in the engine: compiled off its thread, and followed token by token.

The work is llguidance's (Earley parsing over derivatives of regular expressions, with a trie of the
vocabulary). All of its heavy calls release the interpreter's lock.
"""

import threading
from collections import Counter, OrderedDict
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from llguidance import LLMatcher
from numpy.typing import NDArray

from tessera.core.generation import Grammar
from tessera.errors import GrammarFailed, GrammarTooSlow
from tessera.grammars.llg import LIMITS, llg_tokenizer
from tessera.processes.priority import yield_to_others
from tessera.processes.sharing import FairThreads
from tessera.text.tokenizer import Tokenizer

_N_COMPILERS = 2
"""One account's grammars, however slow, have one of these threads."""

# What a compiled grammar takes: some hundred times its text, and what its automata grow by while it is
# followed, 60 to 120 MB per second of processor time (measured, for the library does not report it).
_BYTES_OF_TEXT, _BYTES_PER_S = 128, 128 * 2**20

WORN_S = 0.5
"""After so much processor time of masks, the next request with the same grammar has it compiled anew.
Followers share its automata, which have a limit, so a request could fail for what others did.
"""

# Usual masks take tens of microseconds, and now and then some milliseconds. What a request may spend is a sum
# for its rare slow ones, and an allowance for each mask.
BUDGET_S, BUDGET_PER_MASK_S = 2.0, 0.01
_SLOW_S, _SLOW_PER_MASK_S = 0.05, 0.002


@dataclass(slots=True, eq=False)
class Effort:
    """Processor time that the masks of one request have taken, over all of its sequences."""

    spent_s: float = 0.0
    n_masks: int = 0

    @property
    def is_slow(self) -> bool:
        """Whether others should not wait for this request's masks."""
        return self.spent_s > _SLOW_S + _SLOW_PER_MASK_S * self.n_masks

    def add(self, duration_s: float) -> None:
        """Counts one mask; raises `GrammarTooSlow` when the budget is spent."""
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


class CompiledGrammar:
    """A compiled grammar. All its followers share its automata, whatever thread they run in."""

    def __init__(self, matcher: LLMatcher, n_text: int) -> None:
        """`n_text` is the length of the grammar's text."""
        self.matcher = matcher
        self._n_text = n_text
        self._lock = threading.Lock()
        self._spent_s = 0.0

    def wear(self, duration_s: float) -> None:
        """Counts the processor time of a mask; `math.inf` for one that failed."""
        with self._lock:
            self._spent_s += duration_s

    @property
    def is_worn(self) -> bool:
        """Whether no further request should follow it."""
        return self._spent_s > WORN_S

    @property
    def n_bytes(self) -> int:
        """The estimated size."""
        return _BYTES_OF_TEXT * self._n_text + int(_BYTES_PER_S * min(self._spent_s, WORN_S))


class Constraint:
    """What the grammar of one sequence allows next.

    While `following` or `masking` is not done, the matcher belongs to the thread that computes them.
    """

    def __init__(self, compiled: CompiledGrammar, matcher: LLMatcher, effort: Effort | None = None) -> None:
        """`matcher` is a copy of the compiled grammar's."""
        self.compiled = compiled
        self.matcher = matcher
        self.effort = effort or Effort()
        self.following: Future[Forced] | None = None
        self.masking: Future[tuple[NDArray[np.uint32], float]] | None = None

    def copy(self) -> "Constraint":
        """Another follower of the same request, from the same state on."""
        copied = Constraint(self.compiled, self.matcher.deep_copy(), self.effort)
        copied.masking = self.masking
        return copied

    def cancel(self) -> None:
        """Cancels what is being computed."""
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
        """Advances the grammar by a token; raises `GrammarFailed` if the grammar does not allow it."""
        if not self.matcher.consume_token(token_id):
            raise GrammarFailed("The grammar of this request could not be followed further.")

    def takes(self, token_ids: Sequence[int]) -> bool:
        """Whether these tokens may come next."""
        return self.matcher.validate_tokens([*token_ids]) == len(token_ids)

    def forced(self) -> list[int]:
        """The tokens that must come next, as far as there is no choice; they are not accepted yet."""
        return self.matcher.compute_ff_tokens()


class GrammarCompiler:
    """Compiles grammars in threads and caches them; of the account that has most, the least recently used one
    is evicted first.

    Accounts share no compiled grammar: one could tell from the time what another one has sent, and would wait
    for its masks.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        end_ids: Collection[int],
        vocabulary_size: int,
        *,
        most_bytes: int = 2**28,
    ) -> None:
        """The arguments are those of `llg_tokenizer`, which takes a second: a thread calls it before it
        compiles the first grammar. The cache has at most `most_bytes`, by the estimate of `n_bytes`.
        """
        self._most_bytes = most_bytes
        self._threads = FairThreads(_N_COMPILERS, "grammars", yield_to_others)
        self._tokenizer = self._threads.call(b"", lambda: llg_tokenizer(tokenizer, end_ids, vocabulary_size))
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[bytes, str], CompiledGrammar] = OrderedDict()

    def constrain(self, grammar: Grammar, account: bytes = b"") -> Future[Constraint]:
        """A follower of the grammar; the future raises `GrammarFailed` if it does not compile. Accounts take
        turns.
        """
        return self._threads.call(account, lambda: self._compile(grammar.lark, account))

    def _compile(self, lark: str, account: bytes) -> Constraint:
        key = account, lark
        with self._lock:
            compiled = self._kept.get(key)
        if compiled is None or compiled.is_worn:
            compiled = CompiledGrammar(self._matcher(lark), len(lark))
        with self._lock:
            self._keep(key, compiled)
        return Constraint(compiled, compiled.matcher.deep_copy())

    def _matcher(self, lark: str) -> LLMatcher:
        try:
            tokenizer, grammar = self._tokenizer.result(), LLMatcher.grammar_from_lark(lark)
            matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=LIMITS)
        except Exception as error:  # whatever it is, it is this request's failure and not the engine's
            raise GrammarFailed("The grammar of this request cannot be read.") from error
        if matcher.is_error():
            raise GrammarFailed("The grammar of this request does not compile.")
        return matcher

    def drop(self) -> None:
        """Empties the cache; requests that follow a grammar go on."""
        with self._lock:
            self._kept.clear()

    @property
    def n_kept(self) -> int:
        """How many grammars the cache has."""
        return len(self._kept)

    @property
    def kept_bytes(self) -> int:
        """The estimated size of the cache."""
        with self._lock:
            return sum(each.n_bytes for each in self._kept.values())

    def _keep(self, key: tuple[bytes, str], compiled: CompiledGrammar) -> None:
        self._kept[key] = compiled
        self._kept.move_to_end(key)
        held: Counter[bytes] = Counter()
        for (account, _), each in self._kept.items():
            held[account] += each.n_bytes
        while held.total() > self._most_bytes:
            largest, _ = held.most_common(1)[0]
            oldest = next(each for each in self._kept if each[0] == largest)
            held[largest] -= self._kept.pop(oldest).n_bytes
