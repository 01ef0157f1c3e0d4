"""What grammars cost grows about as their schemas do, counted in calls of functions. Where it would not, it
is bounded by steps, whatever the machine does beside.

`tests/conformance/schemas/test_work.py` counts at length.
"""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from tessera.core.chat import ChatRequest, Tool
from tessera.core.generation import Grammar
from tessera.formats.qwen3 import QWEN3
from tessera.grammars import relaxation
from tessera.grammars.relaxation import usable_grammar
from tessera.schemas.work import CHARACTERS_PER_STEP

TEXT = {"type": "string"}
STEPS = 3_000
"""Few, so that counting calls does not take long."""
CALLS_OF_A_STEP = 200
"""At the most, in the mean."""


def record(**keywords: Any) -> dict[str, Any]:
    return {"type": "object", **keywords}


def numbered(n: int, value: Callable[[int], Any], name: str = "p") -> dict[str, Any]:
    return {f"{name}{i}": value(i) for i in range(n)}


def ref(i: int) -> dict[str, Any]:
    return {"$ref": f"#/$defs/d{i}"}


def chain(n: int, link: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    return {f"d{i}": link(ref(i + 1)) if i < n - 1 else TEXT for i in range(n)}


def shared(n: int, definition: Any) -> dict[str, Any]:
    return record(properties=numbered(n, lambda _: ref(0)), **{"$defs": {"d0": definition}})


# Schemas whose cost grows as they do.
LINEAR: dict[str, Callable[[int], dict[str, Any]]] = {
    "patterns of names": lambda n: record(patternProperties=numbered(n, lambda _: TEXT, "^p")),
    "patterns of names beside properties": lambda n: record(
        patternProperties=numbered(n, lambda _: TEXT, "^q"), properties=numbered(n, lambda _: TEXT)
    ),
    "properties": lambda n: record(properties=numbered(n, lambda _: TEXT)),
    "patterns": lambda n: record(properties=numbered(n, lambda i: {**TEXT, "pattern": f"^a{i}$"})),
    "at least one": lambda n: record(properties=numbered(n, lambda _: TEXT), minProperties=1),
    "required": lambda n: record(required=[*numbered(n, int)]),
    "constants": lambda n: record(properties={"a": {"enum": [*map(str, range(n)), *range(n)]}}),
    "many enums": lambda n: record(properties=numbered(n, lambda i: {"enum": [i, "a", None]})),
    "a shared union": lambda n: shared(n, {"anyOf": [{**TEXT, "pattern": f"^a{i}$"} for i in range(n)]}),
    "a shared union of objects": lambda n: shared(
        n, {"anyOf": [record(properties={"k": {"const": i}}) for i in range(n)]}
    ),
    "a union": lambda n: record(anyOf=[record(properties={f"p{i}": TEXT}) for i in range(n)]),
    "parts": lambda n: record(allOf=[record(properties={f"p{i}": TEXT}) for i in range(n)]),
    "references in a chain": lambda n: {**ref(0), "$defs": chain(n, lambda to: to)},
    "members in a chain": lambda n: {**ref(0), "$defs": chain(n, lambda to: record(properties={"a": to}))},
    "names of schemas": lambda n: record(properties=numbered(n, lambda i: {"$id": f"http://x/{i}", **TEXT})),
    "several types": lambda n: record(
        properties=numbered(n, lambda _: {"type": ["string", "null", "array"]})
    ),
}
# Each of n parameters says what n others say.
SQUARE: dict[str, Callable[[int], dict[str, Any]]] = {
    "others in every part": lambda n: record(
        allOf=[record(properties={f"p{i}": TEXT}, additionalProperties={"minLength": i}) for i in range(n)]
    ),
    "the rest of a chain": lambda n: record(
        properties=numbered(n, ref), **{"$defs": chain(n, lambda to: {"anyOf": [to, {"type": "null"}]})}
    ),
    "items of the rest of a chain": lambda n: record(
        properties=numbered(n, ref), **{"$defs": chain(n, lambda to: {"type": "array", "items": to})}
    ),
    "items of a whole chain": lambda n: record(
        properties=numbered(n, lambda _: {"type": "array", "items": ref(0)}),
        **{"$defs": chain(n, lambda to: {"type": "array", "items": to})},
    ),
    "a shared enum": lambda n: shared(n, {"enum": [*map(str, range(n)), None]}),
    "constants of names that are not listed": lambda n: record(
        required=[*numbered(n, int)], additionalProperties={"enum": [*range(n)]}
    ),
}


def n_calls(work: Callable[[], object]) -> int:
    """The number of function calls, including functions in C."""
    n = 0

    def count(frame: FrameType, event: str, arg: object) -> None:
        nonlocal n
        n += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return n


def admit(*schemas: dict[str, Any], strict: bool = False, syntax: Any = QWEN3.syntax) -> Grammar:
    tools = tuple(Tool(f"f{i}", schema, {}, strict) for i, schema in enumerate(schemas))
    grammar = usable_grammar(ChatRequest((), tools=tools), syntax, {}, lambda _: None)
    assert grammar is not None
    return grammar


@pytest.mark.slow
@pytest.mark.parametrize("name", LINEAR)
def test_what_a_grammar_costs_grows_as_its_schema_does(name: str) -> None:
    few, many = (n_calls(lambda n=n: admit(LINEAR[name](n))) for n in (25, 100))
    assert many < 5.5 * few


def test_what_would_cost_too_much_is_relaxed_by_a_count(monkeypatch: pytest.MonkeyPatch) -> None:
    schema = SQUARE["items of a whole chain"](200)
    monkeypatch.setattr(relaxation, "MOST_STEPS", STEPS)
    assert n_calls(lambda: admit(schema)) < 3 * STEPS * CALLS_OF_A_STEP
    assert len(admit(schema).lark) < 3 * STEPS * CHARACTERS_PER_STEP
