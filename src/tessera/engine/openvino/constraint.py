"""Grammars in the engine: compiled off its thread, followed token by token, turned into masks.

The work is llguidance's (Earley parsing over derivatives of regular expressions, with a trie of the
vocabulary). All of its heavy calls release the interpreter's lock.
"""

from collections import OrderedDict
from collections.abc import Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from llguidance import LLExecutor, LLMatcher
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask_par
from numpy.typing import NDArray

from tessera.core.generation import Grammar
from tessera.engine.openvino.frames import GRAMMAR_FAILURE
from tessera.errors import GrammarFailed
from tessera.text.llg import LIMITS, llg_tokenizer
from tessera.text.tokenizer import Tokenizer

KEPT_BYTES = 4 * 2**20
"""How much grammar text stays compiled; a compiled grammar is some hundred times the size of its text."""


class Constraint:
    """What the grammar of one sequence allows next."""

    def __init__(self, matcher: LLMatcher) -> None:
        self.matcher = matcher

    def copy(self) -> "Constraint":
        """Another follower, from the same state on."""
        return Constraint(self.matcher.deep_copy())

    def accept(self, token_id: int) -> None:
        """Follow one token; raises `GrammarFailed` if the grammar has no place for it."""
        if not self.matcher.consume_token(token_id):
            raise GrammarFailed(f"{GRAMMAR_FAILURE} could not be followed further.")

    def takes(self, token_ids: Sequence[int]) -> bool:
        """Whether these may come next."""
        return self.matcher.validate_tokens([*token_ids]) == len(token_ids)

    def forced(self) -> list[int]:
        """The tokens that must come next, as far as there is no choice; they are not accepted yet."""
        return self.matcher.compute_ff_tokens()


class Masks:
    """Bit masks of allowed tokens for up to `n_rows` constrained sequences at once, computed in parallel."""

    def __init__(self, n_rows: int, vocabulary_size: int) -> None:
        self._bits = allocate_token_bitmask(n_rows, vocabulary_size)
        self._executor = LLExecutor()

    def fill(self, constraints: Sequence[Constraint]) -> list[NDArray[np.uint32]]:
        """A mask for each, valid until the next call: bit i, lowest first, is token i. Nothing is allowed
        where the grammar has failed.
        """
        if constraints:
            matchers = [(constraint.matcher, row) for row, constraint in enumerate(constraints)]
            fill_next_token_bitmask_par(self._executor, matchers, self._bits)
        for row, constraint in enumerate(constraints):
            if constraint.matcher.is_error():
                self._bits[row] = 0
        return [self._bits[row].view(np.uint32) for row in range(len(constraints))]


class Grammars:
    """Compiles grammars in a thread and keeps what it compiled, least recently used out first."""

    def __init__(self, tokenizer: Tokenizer, end_ids: Collection[int], vocabulary_size: int) -> None:
        """See `llg_tokenizer`, which takes a second: it is made in the thread, before the first grammar."""
        self._thread = ThreadPoolExecutor(1, "grammars")
        self._tokenizer = self._thread.submit(llg_tokenizer, tokenizer, end_ids, vocabulary_size)
        self._kept: OrderedDict[str, LLMatcher] = OrderedDict()
        self._kept_bytes = 0

    def constrain(self, grammar: Grammar) -> Future[Constraint]:
        """A follower of the grammar; the future raises `GrammarFailed` if it does not compile."""
        return self._thread.submit(self._compile, grammar.lark)

    def _compile(self, lark: str) -> Constraint:
        matcher = self._kept.get(lark)
        if matcher is None:
            matcher = self._matcher(lark)
            self._keep(lark, matcher)
        self._kept.move_to_end(lark)
        return Constraint(matcher.deep_copy())

    def _matcher(self, lark: str) -> LLMatcher:
        try:
            tokenizer, grammar = self._tokenizer.result(), LLMatcher.grammar_from_lark(lark)
            matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=LIMITS)
        except Exception as error:  # whatever it is, it is this request's failure and not the engine's
            raise GrammarFailed(f"{GRAMMAR_FAILURE} cannot be read.") from error
        if matcher.is_error():
            raise GrammarFailed(f"{GRAMMAR_FAILURE} does not compile.")
        return matcher

    def _keep(self, lark: str, matcher: LLMatcher) -> None:
        self._kept[lark] = matcher
        self._kept_bytes += len(lark)
        while self._kept_bytes > KEPT_BYTES and len(self._kept) > 1:
            self._kept_bytes -= len(self._kept.popitem(last=False)[0])
