"""How sequences follow their grammars while the engine computes.

A thread compiles the grammar of a request. After each token of a sequence another thread lets the grammar
accept it, finds the tokens that must come next, and computes the mask of those that may. The engine's own
thread takes what has become ready, and never waits for more than a moment.
"""

from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future
from typing import Any

from tessera.core.generation import Grammar
from tessera.engine.batch.constraint import Constraint, GrammarCompiler
from tessera.engine.batch.growth import follow, force
from tessera.engine.batch.masks import Masks, settle
from tessera.engine.batch.sequence import TokenSequence
from tessera.errors import GrammarFailed

GRAMMAR_WAIT_S = 0.005
"""How long a step waits for quick grammars; a sequence whose grammar is not ready skips the next step."""


class GrammarFollower:
    """The grammars of all requests, from their compilation on."""

    def __init__(self, compiler: GrammarCompiler, masks: Masks, context_tokens: int) -> None:
        self._compiler = compiler
        self._masks = masks
        self._context_tokens = context_tokens
        self._compiling: dict[int, Future[Constraint]] = {}

    def compile(self, request: int, grammar: Grammar, account: bytes) -> None:
        """Begins to compile the grammar of a request; `compiled` yields the result."""
        self._compiling[request] = self._compiler.constrain(grammar, account)

    def compiled(self) -> Iterator[tuple[int, Constraint | GrammarFailed]]:
        """The requests whose grammars have become ready, or have failed, since the last call."""
        for request in [request for request, compiling in self._compiling.items() if compiling.done()]:
            try:
                yield request, self._compiling.pop(request).result()
            except GrammarFailed as error:
                yield request, error

    def cancel(self, request: int) -> bool:
        """Cancels the compilation of a request's grammar; returns whether there was one."""
        compiling = self._compiling.pop(request, None)
        if compiling:
            compiling.cancel()
        return compiling is not None

    def follow(self, sequence: TokenSequence, token_id: int | None = None) -> None:
        """Appends what is forced after the token. Under a grammar a thread finds that out, and `force`
        appends it later.
        """
        job = follow(sequence, token_id, self._context_tokens)
        if sequence.constraint:
            self._masks.submit(sequence.constraint, sequence.salt, job)
        else:
            force(sequence, job())

    def force(self, sequence: TokenSequence) -> GrammarFailed | None:
        """Appends what is forced, if a thread has found it. Returns the error of a grammar that failed."""
        constraint = sequence.constraint
        if constraint is None or constraint.following is None or not constraint.following.done():
            return None
        following, constraint.following = constraint.following, None
        try:
            force(sequence, following.result())
        except GrammarFailed as error:
            return error
        return None

    def wait_for_masks(self, sequences: Iterable[TokenSequence]) -> None:
        """Waits a moment for the masks of requests that have been quick so far."""
        constraints = [each.constraint for each in sequences if each.constraint]
        quick = [each.masking for each in constraints if each.masking and not each.effort.is_slow]
        settle(quick, GRAMMAR_WAIT_S)

    def wait_for_forced(self, sequences: Iterable[TokenSequence]) -> None:
        """Waits a moment for what is forced after the tokens just sampled."""
        following = [each.constraint.following for each in sequences if each.constraint]
        settle([each for each in following if each], GRAMMAR_WAIT_S)

    def pending(self, sequences: Collection[TokenSequence]) -> list[Future[Any]]:
        """What requests and sequences wait for while nothing can be computed."""
        constraints = [each.constraint for each in sequences if each.constraint and each.sits_out]
        awaited = [each.following or each.masking for each in constraints]
        return [*self._compiling.values(), *(each for each in awaited if each)]
