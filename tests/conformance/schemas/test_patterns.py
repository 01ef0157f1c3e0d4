"""A grammar admits what its schema does: generated patterns, with all short texts of what may confuse, and
generated constants.
"""

import json
import re
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conformance.schemas.conftest import Vocabulary
from tests.strategies import examples

from tessera.errors import InvalidSchema
from tessera.schemas.check import check_schema
from tessera.schemas.validation import Validator

CHARACTERS = ["a", '"', "\\", "/", "-", "\n", "\t", " ", "é", "\0", "\x1f", "\x7f"]
TEXTS = ["".join(text) for n in range(3) for text in product(CHARACTERS, repeat=n)]
EXCLUDING = [
    '[^"]', r"[^\\]", r'[^"\\]', '[^/"]', "[^ -~]", "[^!-~]", r"[^\x20-\x7e]", r"[\x00-\x1f]", r"[\x00a]",
    r"\p{Cc}", r"[^\P{Cc}]", r"\s", r"\S", r"[\s\S]", r"[^\s]", r"[^\S]", r"\W", r"[\Wa]", ".",
    r"[\x00-\uffff]", r"[^\n]",
]  # fmt: skip

_members = st.sampled_from([
    "a", '"', r"\\", "/", " ", r"\n", r"\x00", r"\x1f", r"\x7f", "é", r"\s", r"\S", r"\W", r"\p{Cc}",
    r"\P{L}", "!-~", r"\x00-\x1f", r"\t-\r", r"\x01-\x7f",
])  # fmt: skip
_classes = st.builds(
    "[{0}{1}]".format, st.sampled_from(["", "^"]), st.lists(_members, min_size=1).map("".join)
)
_atoms = _classes | st.sampled_from(["a", '"', r"\\", ".", r"\s", r"\W", r"\p{Cc}", r"\x1f", "(?:a|[^a])"])
_parts = st.lists(st.builds(str.__add__, _atoms, st.sampled_from(["", "", "?", "{2}"])), max_size=3)
_patterns = st.builds(
    "{0}{1}{2}".format, st.sampled_from(["^", ""]), _parts.map("".join), st.sampled_from(["$", ""])
)

Follow = Callable[[Any], Callable[[str], bool]]


@pytest.fixture(scope="module")
def admits(vocabulary: Vocabulary, json_lark: Callable[..., str], spell: Callable[[object], str]) -> Follow:
    """For a schema: a function that says whether its grammar admits a value, spelled as JSON."""

    def follow(schema: Any) -> Callable[[object], bool]:
        matcher = vocabulary.follow(json_lark(schema, True))

        def admitted(value: object) -> bool:
            ids = list(spell(value).encode())
            assert matcher.reset()
            return matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()

        return admitted

    return follow


def check(schema: Any, value: Callable[[str], Any], admits: Follow) -> None:
    admitted, validator = admits(schema), Validator(schema)
    for text in TEXTS:
        fits = validator.validate(json.dumps(value(text))) is None
        writable = not re.search(r"[\x00-\x07\x0b\x0e-\x1f\x7f]", text)
        assert admitted(value(text)) is (fits and writable), text


@pytest.mark.parametrize("pattern", EXCLUDING)
def test_what_a_class_excludes_is_not_written(pattern: str, admits: Follow) -> None:
    check({"type": "string", "pattern": f"^{pattern}{{1,2}}$"}, lambda text: text, admits)


@pytest.mark.parametrize("pattern", EXCLUDING)
def test_nor_in_a_name(pattern: str, admits: Follow) -> None:
    schema = {"patternProperties": {f"^{pattern}$": {"type": "null"}}, "additionalProperties": False}
    check({"type": "object", **schema}, lambda text: {text: None}, admits)


# What only a lenient ECMAScript knows, or what Rust takes for something else: a text that matches, one not.
ODDLY_SPELLED = {
    r"\A[a-z]+\Z": ("ab", "Ab"),
    r"\Aa\z|b": ("xb", "xa"),
    r"^[\s-_]+$": (" _-", "a"),
    r"^[a\s-.]$": (" ", "]"),
    r"^[\S-.]+$": ("a", " "),
    r"^[^\s-.]$": ("a", "-"),
    r"^[\W-b]$": ("b", "a"),
    r"^[\d-\s]$": ("-", "a"),
    r"^[\p{L}-.]$": ("a", "5"),
    r"^.{,3}\e[^]$": (":{,3}eb", "ea"),
    r"^\h$": ("h", "a"),
    r"^\<a\>$": ("<a>", "a"),
    r"^[\<\>]$": ("<", "a"),
    r"^[a&&b]$": ("&", "c"),
    r"^[a-z&&[^b]]$": ("b]", "b"),
    r"^[+--]$": (",", "b"),
    r"^[a~~b]$": ("~", "c"),
    r"^[[ab]$": ("[", "c"),
    r"^[[ab]c]$": ("ac]", "a"),
    r"^[[:a-z:]]$": ("a]", "a"),
    r"^\Qa\E$": ("QaE", "a"),
    r"^\y\a\l$": ("yal", "al"),
}


@pytest.mark.parametrize(("pattern", "texts"), ODDLY_SPELLED.items())
def test_odd_spellings_mean_the_same_to_the_grammar_and_the_validator(
    pattern: str, texts: tuple[str, str], admits: Follow
) -> None:
    schema = {"type": "string", "pattern": pattern}
    assert [*map(admits(schema), texts)] == [True, False]
    validator, of_names = Validator(schema), Validator({"patternProperties": {pattern: False}})
    assert [validator.validate(json.dumps(text)) is None for text in texts] == [True, False]
    assert [of_names.validate(json.dumps({text: 1})) is None for text in texts] == [False, True]
    check(schema, lambda text: text, admits)


def agree(pattern: str, admits: Follow) -> None:
    schema = {"type": "string", "pattern": pattern}
    try:
        check_schema(schema, strict=True, param="p")
    except InvalidSchema:
        return
    try:
        check(schema, lambda text: text, admits)
    except AssertionError as error:
        if "Regex is empty" not in str(error):  # nothing fits, which compiling shows
            raise


@examples(40)
@given(_patterns)
def test_generated(admits: Follow, pattern: str) -> None:
    agree(pattern, admits)


@pytest.mark.full
@settings(max_examples=3_000)
@given(_patterns)
def test_many_generated(admits: Follow, pattern: str) -> None:
    agree(pattern, admits)


_constants = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text('a"\\\n\t\x01\x1f\x7fé', max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("a\n\x01", max_size=2), inner, max_size=3)
    ),
    max_leaves=4,
)


@examples(60)
@given(st.lists(_constants, min_size=1, max_size=3))
def test_constants_are_written_whole_or_refused(admits: Follow, values: list[Any]) -> None:
    try:
        admitted = admits({"enum": values})
    except InvalidSchema:
        assert re.search(r"\d{16}|\\u00", json.dumps(values))
        return
    assert all(map(admitted, values))
    texts = [text for text in map(lossy, values) if text not in map(json.dumps, values)]
    assert not any(admitted(json.loads(text)) for text in texts)


def lossy(value: object) -> str:
    """The JSON of the value without control characters."""
    return re.sub(r"\\u00[01][0-9a-f]|\x7f", "", json.dumps(value))
