"""What the expressions of `format` match, the validator accepts."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.prompt.string_formats import FORMATS
from tessera.prompt.validation import Validator


@pytest.mark.parametrize("name", FORMATS)
def test_whatever_matches_is_valid(name: str) -> None:
    validator = Validator({"type": "string", "format": name})

    @settings(max_examples=60)
    @given(st.from_regex(re.compile(FORMATS[name]), fullmatch=True, alphabet=st.characters(codec="ascii")))
    def check(text: str) -> None:
        assert validator.validate(f'"{text}"') is None, text

    check()


@pytest.mark.parametrize(
    ("host", "matches"),
    [
        ("a", True),
        ("ab", True),
        ("my-site.example", True),
        ("a--b", True),
        ("xn--p1ai", False),
        ("ab--c", False),
        ("-a", False),
        ("a-", False),
        ("a" * 32, True),
        ("a" * 33, False),
        ("a..b", False),
    ],
)
def test_names_of_hosts(host: str, matches: bool) -> None:
    assert bool(re.fullmatch(FORMATS["hostname"], host)) is matches
    assert bool(re.fullmatch(FORMATS["email"], f"me@{host}")) is matches
