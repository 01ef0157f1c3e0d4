"""Finds the narrowest grammar of a reply that can be used, by trying.

Only an attempt shows whether a grammar compiles and what it then costs. If all schemas together fail, each is
tried alone. One that is not strict then goes down the `RUNGS` of `keywords` until its grammar can be used;
that of the last rung, any JSON of the schema's type, always can. The final validation still checks what the
grammar leaves out.
"""

import json
from collections.abc import Callable, Mapping
from typing import TypeAlias

from tessera.core.chat import ChatRequest
from tessera.core.generation import Grammar
from tessera.errors import InvalidSchema
from tessera.grammars.turn import SingleSchema, build_grammar, schemas_of, single_schemas
from tessera.parsing.syntax import Syntax
from tessera.schemas.keywords import RUNGS

Attempt: TypeAlias = Callable[[Grammar], str | None]
"""Tries a grammar; returns why it cannot be used, or None."""

_LAST = len(RUNGS) - 1
_LARGE_BYTES = 64 * 2**10
"""A larger schema goes from the first rung to the last: building a grammar on each would take too long."""


def admitted_grammar(
    request: ChatRequest, syntax: Syntax, control_tokens: Mapping[str, int], attempt: Attempt
) -> Grammar | None:
    """The narrowest grammar of the reply that can be used; None if it may be any text.

    Raises `InvalidSchema`, naming the schema at fault.
    """
    grammar = build_grammar(request, syntax, control_tokens)
    if grammar is None or (problem := attempt(grammar)) is None:
        return grammar
    schemas = [*single_schemas(request)]
    rungs = {each.param: _rung(each, syntax, control_tokens, attempt) for each in schemas}
    lowered = [each.param for each in schemas if not each.strict]
    while True:
        grammar = build_grammar(request, syntax, control_tokens, rungs=rungs)
        all_lowest = all(rungs[param] == _LAST for param in lowered)
        if grammar is None or (all_lowest and len(lowered) == len(schemas)):
            return grammar
        if (problem := attempt(grammar)) is None:
            return grammar
        if all_lowest:
            raise _refusal(problem, "tools" if request.tools else schemas[0].param)
        rungs |= {param: min(rungs[param] + 1, _LAST) for param in lowered}


def _rung(schema: SingleSchema, syntax: Syntax, control_tokens: Mapping[str, int], attempt: Attempt) -> int:
    """The first rung on which a grammar with this schema alone can be used."""
    failed: Grammar | None = None
    is_large = sum(len(json.dumps(each)) for _, each in schemas_of(schema.alone)) > _LARGE_BYTES
    for rung in range(1 if is_large else _LAST):
        grammar = build_grammar(schema.alone, syntax, control_tokens, rungs={schema.alone_param: rung})
        if grammar == failed:
            continue
        if grammar is None or (problem := attempt(grammar)) is None:
            return rung
        if schema.strict:
            raise _refusal(problem, schema.param)
        failed = grammar
    return _LAST


def _refusal(problem: str, param: str) -> InvalidSchema:
    return InvalidSchema(f"The schema cannot be enforced: at #: {problem}.", param=param)
