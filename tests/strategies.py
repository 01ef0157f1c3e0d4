"""Hypothesis strategies that several tests share."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st

from tessera.core.chat import Json, Tool

_T = TypeVar("_T")


def examples(n: int) -> settings:
    """Settings for `n` examples, or fewer under a profile that has fewer than usual."""
    usual = settings.default.max_examples if settings.default else 100
    return settings(max_examples=max(1, n * usual // 100))


MARKUP = [
    "<tool_call>",
    "</tool_call>",
    "<think>",
    "</think>",
    "<function=",
    "<function=get_weather>",
    "</function>",
    "<parameter=",
    "<parameter=city>",
    "</parameter>",
    '{"name": "get_weather", "arguments": {',
    '{"name": "',
    '"arguments": ',
    "}",
    "}}",
    '"',
    "\\",
    ",",
    ":",
    "null",
    "<",
    ">",
    "\n",
    "\n\n",
    " ",
    "```",
    "STOP",
    "STO",
    "é",
    "👩‍💻",
    "word ",
]
"""Scraps that outputs of every family are made of."""

plain_texts = st.text(st.characters(codec="utf-8", exclude_characters="<>"), max_size=30)
"""Texts that hold no markup."""

scraps = st.lists(st.sampled_from(MARKUP) | plain_texts, max_size=25)
"""Outputs, well-formed or not, as parts."""


@st.composite
def chunkings(draw: st.DrawFn, tokens: Sequence[_T]) -> list[Sequence[_T]]:
    """A way of cutting a sequence into steps."""
    if len(tokens) < 2:
        return [tokens]
    cuts = draw(st.sets(st.integers(1, len(tokens) - 1), max_size=12))
    return [tokens[a:b] for a, b in pairwise([0, *sorted(cuts), len(tokens)])]


json_values: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)

_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "string": plain_texts,
    "integer": st.integers(-(10**9), 10**9),
    "number": st.floats(allow_nan=False, allow_infinity=False),
    "boolean": st.booleans(),
    "null": st.none(),
    "array": st.lists(json_values, max_size=3),
    "object": st.dictionaries(st.text(max_size=5), json_values, max_size=3),
}

names = st.from_regex(r"[A-Za-z0-9_-]{1,12}", fullmatch=True)


def tool(name: str, parameters: dict[str, Json]) -> Tool:
    """A tool as `wire` makes it."""
    definition = {"type": "function", "function": {"name": name, "parameters": parameters}}
    return Tool(name, parameters, definition)


@st.composite
def tools(draw: st.DrawFn) -> Tool:
    """A tool whose parameters have one type each."""
    kinds = draw(st.dictionaries(names, st.sampled_from(sorted(_VALUES)), max_size=4))
    properties: dict[str, Json] = {name: {"type": kind} for name, kind in kinds.items()}
    return tool(draw(names), {"type": "object", "properties": properties})


@st.composite
def calls(draw: st.DrawFn) -> tuple[Tool, dict[str, Json]]:
    """A tool, and arguments that fit it."""
    called = draw(tools())
    properties: Any = called.parameters["properties"]
    given = draw(st.sets(st.sampled_from(sorted(properties)))) if properties else set[str]()
    return called, {name: draw(_VALUES[properties[name]["type"]]) for name in sorted(given)}
