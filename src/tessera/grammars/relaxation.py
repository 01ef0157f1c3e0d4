"""Finds the narrowest grammar of a reply that can be used, by trying.

Only an attempt shows whether a grammar compiles and what it then costs. If all schemas together fail, each is
tried alone. One that is not strict is relaxed, by the `LEVELS` of `keywords`, until its grammar can be used;
that of the last level, any JSON of the schema's type, always can. The final validation still checks what the
grammar leaves out.

All of this takes a bounded number of steps (`schemas.work`). Where they do not suffice, a schema that is not
strict is relaxed to the last level, even if there is time.
"""

import json
from collections.abc import Callable, Mapping
from typing import TypeAlias

from tessera.core.chat import ChatRequest
from tessera.core.generation import Grammar
from tessera.grammars.question import TOO_MUCH
from tessera.grammars.turn import SingleSchema, build_grammar, schemas_of, single_schemas
from tessera.parsing.syntax import Syntax
from tessera.schemas.bounds import SchemaProblem
from tessera.schemas.keywords import LEVELS
from tessera.schemas.work import TooMuchWork, Work

Attempt: TypeAlias = Callable[[Grammar], str | None]
"""Tries a grammar; returns why it cannot be used, or None."""

_LAST = len(LEVELS) - 1
_LARGE_BYTES = 64 * 2**10
"""A larger schema goes from the first level to the last: building a grammar on each would take too long."""

MOST_STEPS = 60_000
"""For the first grammar, and as many for each of the two searches that follow if it fails."""


def usable_grammar(
    request: ChatRequest, syntax: Syntax, control_tokens: Mapping[str, int], attempt: Attempt
) -> Grammar | None:
    """The narrowest grammar of the reply that can be used; None if it may be any text.

    Raises `InvalidSchema`, naming the schema at fault.
    """
    relaxation = _Relaxation(syntax, control_tokens, attempt)
    grammar, problem = relaxation.tried(request, {}, Work(MOST_STEPS))
    if problem is None:
        return grammar
    return relaxation.together(request, relaxation.levels(request))


class _Relaxation:
    """Builds and tries the grammars of one request."""

    def __init__(self, syntax: Syntax, control_tokens: Mapping[str, int], attempt: Attempt) -> None:
        self._syntax = syntax
        self._control_tokens = control_tokens
        self._attempt = attempt

    def tried(
        self, request: ChatRequest, levels: Mapping[str, int], work: Work, failed: Grammar | None = None
    ) -> tuple[Grammar | None, str | None]:
        """The grammar, and why it cannot be used (None if it can). One that `failed` is not tried again."""
        try:
            grammar = self._built(request, levels, work)
        except TooMuchWork:
            return None, TOO_MUCH
        if grammar is None:
            return None, None
        return grammar, TOO_MUCH if grammar == failed else self._attempt(grammar)

    def levels(self, request: ChatRequest) -> dict[str, int]:
        """By parameter, the first level on which a grammar with its schema alone can be used.

        Strict schemas come first, so that others do not use up the steps that they need.
        """
        work = Work(MOST_STEPS)
        schemas = sorted(single_schemas(request), key=lambda each: not each.strict)
        return {each.param: self._level(each, work) for each in schemas}

    def _level(self, schema: SingleSchema, work: Work) -> int:
        failed: Grammar | None = None
        is_large = sum(len(json.dumps(each)) for _, each in schemas_of(schema.alone)) > _LARGE_BYTES
        for level in range(1 if is_large else _LAST):
            grammar, problem = self.tried(schema.alone, {schema.alone_param: level}, work, failed=failed)
            if problem is None:
                return level
            if schema.strict:
                raise SchemaProblem("", problem).refusal(schema.param)
            if work.is_used_up:
                break
            failed = grammar
        return _LAST

    def together(self, request: ChatRequest, levels: dict[str, int]) -> Grammar | None:
        """The grammar with each schema on its level, or on later ones if the schemas fail only together."""
        schemas = [*single_schemas(request)]
        lenient = [each.param for each in schemas if not each.strict]
        work = Work(MOST_STEPS)
        while any(levels[param] < _LAST for param in lenient):
            grammar, problem = self.tried(request, levels, work)
            if problem is None:
                return grammar
            step = _LAST if work.is_used_up else 1
            levels |= {param: min(levels[param] + step, _LAST) for param in lenient}
        # Each strict schema was built alone within the bounds, and the others are relaxed to the last level.
        grammar = self._built(request, levels, Work())
        if grammar is None or len(lenient) == len(schemas) or (problem := self._attempt(grammar)) is None:
            return grammar
        raise SchemaProblem("", problem).refusal("tools" if request.tools else schemas[0].param)

    def _built(self, request: ChatRequest, levels: Mapping[str, int], work: Work) -> Grammar | None:
        return build_grammar(request, self._syntax, self._control_tokens, levels=levels, work=work)
