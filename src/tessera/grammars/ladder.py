"""The grammar of a reply, decided by trying.

Whether a grammar compiles, and what it then costs, only an attempt shows. If all schemas together fail, each
is tried alone. One that is not strict then goes down the `RUNGS` of `keywords` until it can be used; the last
rung, any JSON of the schema's type, always can. What the grammar leaves out, the final check still knows.

All of it takes a bounded number of steps, which are counted: where they do not suffice, a schema that is not
strict goes down to the last rung, whatever time there would be.
"""

import json
from collections.abc import Callable, Mapping
from typing import TypeAlias

from tessera.core.chat import ChatRequest
from tessera.core.generation import Grammar
from tessera.errors import InvalidSchema
from tessera.grammars.question import TOO_MUCH
from tessera.grammars.turn import SingleSchema, build_grammar, schemas_of, single_schemas
from tessera.parsing.syntax import Syntax
from tessera.schemas.keywords import RUNGS
from tessera.schemas.work import TooMuchWork, Work

Attempt: TypeAlias = Callable[[Grammar], str | None]
"""Tries a grammar; returns why it cannot be used, or None."""

_LAST = len(RUNGS) - 1
_LARGE_BYTES = 64 * 2**10
"""A larger schema goes down to the last rung at once: to build a grammar on every rung would take long."""

MOST_STEPS = 60_000
"""For the first grammar, and as many for each of the two searches that follow if it fails."""


def admitted_grammar(
    request: ChatRequest, syntax: Syntax, control_tokens: Mapping[str, int], attempt: Attempt
) -> Grammar | None:
    """The narrowest grammar of the reply that can be used; None if anything may be said.

    Raises `InvalidSchema`, naming the schema at fault.
    """
    ladder = _Ladder(syntax, control_tokens, attempt)
    grammar, problem = ladder.tried(request, {}, Work(MOST_STEPS))
    if problem is None:
        return grammar
    return ladder.together(request, ladder.rungs(request))


class _Ladder:
    """The grammars of one request on rungs, built and tried."""

    def __init__(self, syntax: Syntax, control_tokens: Mapping[str, int], attempt: Attempt) -> None:
        self._syntax, self._control_tokens, self._attempt = syntax, control_tokens, attempt

    def tried(
        self, request: ChatRequest, rungs: Mapping[str, int], work: Work, failed: Grammar | None = None
    ) -> tuple[Grammar | None, str | None]:
        """The grammar, and why it cannot be used, if it cannot. What has `failed` is not tried again."""
        try:
            grammar = self._built(request, rungs, work)
        except TooMuchWork:
            return None, TOO_MUCH
        if grammar is None:
            return None, None
        return grammar, TOO_MUCH if grammar == failed else self._attempt(grammar)

    def rungs(self, request: ChatRequest) -> dict[str, int]:
        """The first rung of each schema, by its parameter, on which it can be used by itself.

        Schemas that are strict come first: others do not use up the steps that they need.
        """
        work = Work(MOST_STEPS)
        schemas = sorted(single_schemas(request), key=lambda each: not each.strict)
        return {each.param: self._rung(each, work) for each in schemas}

    def _rung(self, schema: SingleSchema, work: Work) -> int:
        failed: Grammar | None = None
        is_large = sum(len(json.dumps(each)) for _, each in schemas_of(schema.alone)) > _LARGE_BYTES
        for rung in range(1 if is_large else _LAST):
            grammar, problem = self.tried(schema.alone, {schema.alone_param: rung}, work, failed)
            if problem is None:
                return rung
            if schema.strict:
                raise _refusal(problem, schema.param)
            if work.is_used_up:
                break
            failed = grammar
        return _LAST

    def together(self, request: ChatRequest, rungs: dict[str, int]) -> Grammar | None:
        """The grammar with each schema on its rung, or on lower ones if they only fail together."""
        schemas = [*single_schemas(request)]
        lenient = [each.param for each in schemas if not each.strict]
        work = Work(MOST_STEPS)
        while any(rungs[param] < _LAST for param in lenient):
            grammar, problem = self.tried(request, rungs, work)
            if problem is None:
                return grammar
            step = _LAST if work.is_used_up else 1
            rungs |= {param: min(rungs[param] + step, _LAST) for param in lenient}
        # Each strict schema was built by itself within the bounds, and what is left of the others is nothing.
        grammar = self._built(request, rungs, Work())
        if grammar is None or len(lenient) == len(schemas) or (problem := self._attempt(grammar)) is None:
            return grammar
        raise _refusal(problem, "tools" if request.tools else schemas[0].param)

    def _built(self, request: ChatRequest, rungs: Mapping[str, int], work: Work) -> Grammar | None:
        return build_grammar(request, self._syntax, self._control_tokens, rungs, work)


def _refusal(problem: str, param: str) -> InvalidSchema:
    return InvalidSchema(f"The schema cannot be enforced: at #: {problem}.", param=param)
