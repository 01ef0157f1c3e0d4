import contextlib
import json
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.prompt.patterns import Hostile, Unsupported, full_match
from tessera.prompt.validation import Validator

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
HOSTILE = [
    "(a+)+$",
    "^(([a-z])+.)+[A-Z]([a-z])+$",
    "(a|aa)+$",
    "(a|a)*$",
    "(.*a){25}",
    "([a-zA-Z]+)*$",
    "(a|a?)+",
    "(x+x+)+y",
    r"(\w+\s?)*$",
    "(a?){100}a{100}",
    "((a{1,100}){1,100}){1,100}",
    "(.*a.{200}){50}",
    "a{2000}",
    "a" * 257,
    r"([^\P{L}]|a)*",
    "(" * 30 + ")" * 30,
]
UNSUPPORTED = [
    "(?=a)b", r"\bfoo", "(^a|b$)c", r"(a)\1", "[", "(", ")", "a**", "(?i)a", r"\cA", "[z-a]", "a{,3}",
    "a{3,1}", r"\ud800", r"[a-\d]", "*a", "[]", r"\x1", "\\",
    r"a\x1fb", r"[\x01\0]", r"\v", "\x7f",
]  # fmt: skip


@pytest.mark.parametrize("pattern", FINE)
def test_fine(pattern: str) -> None:
    assert full_match(pattern)


@pytest.mark.parametrize("pattern", HOSTILE)
def test_hostile(pattern: str) -> None:
    with pytest.raises(Hostile):
        full_match(pattern)


@pytest.mark.parametrize("pattern", UNSUPPORTED)
def test_unsupported(pattern: str) -> None:
    with pytest.raises(Unsupported):
        full_match(pattern)


@pytest.mark.parametrize(
    "pattern", ["a?" * 128, ".*" * 128, "[a-z]*" * 42, f"({'(.a|b.)' * 30})*", f"({'|'.join('ab' * 60)})*"]
)
def test_the_check_itself_is_quick(pattern: str) -> None:
    begun = time.monotonic()
    with contextlib.suppress(Hostile):
        full_match(pattern)
    assert time.monotonic() - begun < 0.5


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
    ],
)
def test_rewritten(pattern: str, rewritten: str) -> None:
    assert full_match(pattern) == rewritten


_atoms = st.sampled_from(["a", "b", "[ab]", "[^a]", r"\d", r"\w", ".", "(?:a|b)", "-"])
_parts = st.builds(
    "".join, st.lists(st.builds(str.__add__, _atoms, st.sampled_from(["", "?", "{2}", "{1,2}"])))
)
_patterns = st.builds("{0}{1}{2}".format, st.sampled_from(["", "^"]), _parts, st.sampled_from(["", "$"]))


@settings(max_examples=200, deadline=None)
@given(_patterns, st.text("ab1-\n", max_size=6))
def test_it_matches_what_the_validator_matches(pattern: str, text: str) -> None:
    rewritten = re.sub(r"\\u\{([0-9a-f]+)\}", lambda code: rf"\x{int(code[1], 16):02x}", full_match(pattern))
    matches = re.fullmatch(rewritten, text) is not None
    assert matches is (Validator({"pattern": pattern}).validate(json.dumps(text)) is None)
