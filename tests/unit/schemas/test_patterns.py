import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import examples

from tessera.schemas.patterns import Malformed, Unsupported, full_match
from tessera.schemas.validation import Validator, schema_problem

CONTROLS = r"\x00-\x07\x0b\x0e-\x1f\x7f"
FINE = [
    "",
    "^$",
    r"^[a-z0-9]+(?:-[a-z0-9]+)*$",
    r"^\S+@\S+\.\S+$",
    r"^(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(\.(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)){3}$",
    r"^(0|[1-9]\d*)(?:-((?:0|[1-9]\d*|\d*[a-z-][\da-z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-z-][\da-z-]*))*))?$",
    r"^[\w.+-]+@([\w-]+\.)+[\w-]+$",
    r"^[\s\S]*$",
    r"^\p{Lu}\p{L}*$",
    r"^(?<year>[0-9]{4})$",
    r"^#[0-9a-fA-F]{6}$",
    r"^([a-z]+,)*[a-z]+$",
    r"^\$\d+(\.\d{2})?$",
    "a|^b|c$",
]
# A backtracking engine may take exponential time for these; a linear automaton does not.
AMBIGUOUS = [
    "(a+)+$",
    "^(([a-z])+.)+[A-Z]([a-z])+$",
    "(a|aa)+$",
    r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
    r"^(?:[A-Za-z0-9_.~-]|%[0-9A-F]{2})*$",
    r"^(?:\S+\s+){0,29}\S+$",
    "(a?){100}a{100}",
    r"([^\P{L}]|a)*",
    "(" * 30 + ")" * 30,
]
UNSUPPORTED = [
    "(?=a)b", "^(?!none$)", "(?<=a)b", "(?<!a)b", r"\bfoo", "(^a|b$)c", r"(a)\1", "(?i)a", "(?i:a)b", r"\cA",
    r"\ud800", "[]", r"\x1", r"a\x1fb", r"[\x01\0]", r"\v", "\x7f", "a^b", "(a$|b)c", "(^a)+", "a{200000}",
    r"\p{Script=Latin}", "a" * 5000, "(" * 60 + ")" * 60,
]  # fmt: skip
MALFORMED = [
    "[", "(", ")", "a**", "[z-a]", "a{3,1}", "*a", "\\", "(?", "(?=[", "(?<a", "(?!x", "a|+", r"\b[",
]  # fmt: skip
# Annex B of ECMAScript: what is no count, and what is no range, stands for itself.
LENIENT = {
    "a{": "a{",
    "{": "{",
    "a{,3}": "a{,3}",
    r"^[\w-.]$": "-",
    r"^[a-\d]$": "-",
    "^[^]$": "x",
    r"\_": "_",
    "]": "]",
    r"\e": "e",
}


@pytest.mark.parametrize("pattern", AMBIGUOUS)
def test_ambiguity_is_no_reason_to_refuse(pattern: str) -> None:
    assert full_match(pattern)


@pytest.mark.parametrize("pattern", FINE)
def test_fine(pattern: str) -> None:
    assert full_match(pattern)


@pytest.mark.parametrize("pattern", UNSUPPORTED)
def test_unsupported(pattern: str) -> None:
    with pytest.raises(Unsupported):
        full_match(pattern)


@pytest.mark.parametrize("pattern", MALFORMED)
def test_malformed(pattern: str) -> None:
    with pytest.raises(Malformed):
        full_match(pattern)
    assert schema_problem({"pattern": pattern})


@pytest.mark.parametrize(("pattern", "text"), LENIENT.items())
def test_lenient_spellings_mean_the_same_to_the_validator(pattern: str, text: str) -> None:
    assert re.fullmatch(python_form(full_match(pattern)), text)
    assert Validator({"pattern": pattern}).validate(json.dumps(text)) is None
    assert Validator({"pattern": pattern}).validate('"y\n"')


@pytest.mark.parametrize("pattern", UNSUPPORTED)
def test_what_is_unsupported_is_no_problem_for_the_validator(pattern: str) -> None:
    assert schema_problem({"pattern": pattern}) is None


@pytest.mark.parametrize(
    ("pattern", "rewritten"),
    [
        ("a", "(?:(?s:.*)a(?s:.*))"),
        ("^a|b$", "(?:a(?s:.*)|(?s:.*)b)"),
        (r"^[\d-x]\/$", r"(?:[0-9\u{2d}x]\u{2f})"),
        (r"^\D.$", rf"(?:[^0-9{CONTROLS}][^\n{CONTROLS}])"),
        (r'^[^"]$', rf"(?:[^\u{{22}}{CONTROLS}])"),
        (r"^[\0-\n]\p{L}$", rf"(?:[[\u{{0}}-\u{{a}}]&&[^{CONTROLS}]][\p{{L}}&&[^{CONTROLS}]])"),
        ("^(a)(?:b)(?<n>c)$", "(?:(?:a)(?:b)(?:c))"),
        ("^a+?$", "(?:a+)"),
        ("(^a$)|(^b$)", "(?:(?:(?:a)|(?:b)))"),
        ("(^a|b)?c", "(?:(?:a)c(?s:.*)|(?s:.*)(?:(?:b)c|c)(?s:.*))"),
        ("^^a$$", "(?:a)"),
    ],
)
def test_rewritten(pattern: str, rewritten: str) -> None:
    assert full_match(pattern) == rewritten


_atoms = st.sampled_from(["a", "b", "[ab]", "[^a]", r"\d", r"\w", ".", "(?:a|b)", "-"])
_parts = st.builds(
    "".join, st.lists(st.builds(str.__add__, _atoms, st.sampled_from(["", "?", "{2}", "{1,2}"])))
)
_patterns = st.builds("{0}{1}{2}".format, st.sampled_from(["", "^"]), _parts, st.sampled_from(["", "$"]))


@examples(200)
@given(_patterns, st.text("ab1-\n", max_size=6))
def test_it_matches_what_the_validator_matches(pattern: str, text: str) -> None:
    matches = re.fullmatch(python_form(full_match(pattern)), text) is not None
    assert matches is (Validator({"pattern": pattern}).validate(json.dumps(text)) is None)


def python_form(rewritten: str) -> str:
    return re.sub(r"\\u\{([0-9a-f]+)\}", lambda code: rf"\x{int(code[1], 16):02x}", rewritten)
