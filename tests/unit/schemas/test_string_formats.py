"""What the expressions of `format` match, the validator accepts, whatever the schema's draft; and they match
what people write.
"""

import json
import random
import re
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.format_values import ANNOTATIONS, DRAFTS, FORMAT_VALUES
from tests.strategies import examples

from tessera.schemas.pattern_classes import UNWRITABLE
from tessera.schemas.string_formats import FORMATS, VALIDATED
from tessera.schemas.validation import Validator

OUTSIDE = "".join(map(chr, range(0x80))) + "\xa0éÿ\u2028한\ud7ff\ue000\uffff😀\U0010ffff"
"""What a class that excludes characters is drawn from."""
CASES = [(name, text) for name, values in FORMAT_VALUES.items() for text in (*values.good, *values.bad)]


@cache
def parsed(expression: str) -> Any:
    return re._parser.parse(expression)  # type: ignore[attr-defined] - hypothesis takes minutes for large classes


def drawn(nodes: Any, choose: random.Random) -> str:
    """A random text that the parsed expression matches, often with the bounds of its classes."""
    return "".join(_drawn(str(code), value, choose) for code, value in nodes)


def _drawn(code: str, value: Any, choose: random.Random) -> str:
    match code:
        case "LITERAL":
            return chr(value)
        case "SUBPATTERN":
            return drawn(value[-1], choose)
        case "BRANCH":
            return drawn(choose.choice(value[1]), choose)
        case "MAX_REPEAT":
            least, most, inside = value
            is_class = [str(code) for code, _ in inside] == ["IN"]
            most = min(most, least + choose.choice([1, 3, 70 if is_class else 3]))
            return "".join(drawn(inside, choose) for _ in range(choose.randint(least, most)))
        case "IN" if str(value[0][0]) == "NEGATE":
            excluded = "".join(map(_member, value[1:]))
            return choose.choice(re.findall(f"(?s:[^{excluded}])", OUTSIDE))
        case "IN":
            kind, bounds = choose.choice(value)
            low, high = (bounds, bounds) if str(kind) == "LITERAL" else bounds
            return chr(choose.choice([low, high, choose.randint(low, high)]))
        case _:
            raise NotImplementedError(code)


def _member(item: tuple[Any, Any]) -> str:
    low, high = item[1] if str(item[0]) == "RANGE" else (item[1], item[1])
    return rf"\U{low:08x}-\U{high:08x}"


@cache
def validators(name: str) -> list[Validator]:
    """A validator for each draft."""
    schema = {"type": "string", "format": name}
    return [Validator({**schema, "$schema": draft} if draft else schema) for draft in DRAFTS.values()]


def verdicts(name: str, text: str) -> set[bool]:
    return {validator.validate(json.dumps(text)) is None for validator in validators(name)}


def matches(name: str, text: str) -> bool:
    return all(re.fullmatch(expression, text) for expression in FORMATS[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_whatever_matches_is_valid_in_every_draft(name: str) -> None:
    choose, n_matching = random.Random(name), 0
    for _ in range(600):
        text = drawn(parsed(FORMATS[name][0]), choose)
        if matches(name, text):
            n_matching += 1
            assert verdicts(name, text) == {True}, text
            assert not UNWRITABLE.search(text)
    assert n_matching >= 150


@pytest.mark.parametrize(("name", "text"), CASES)
def test_expression_and_validator_agree(name: str, text: str) -> None:
    good = text in FORMAT_VALUES[name].good
    assert matches(name, text) is good
    assert verdicts(name, text) == {good}


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_valid_and_not_written_is_valid(name: str) -> None:
    for text in FORMAT_VALUES[name].unwritten:
        assert not matches(name, text), text
        assert verdicts(name, text) == {True}, text


def test_hosts_in_every_letter_beyond_ascii() -> None:
    for character in map(chr, (*range(0x80, 0xD800), *range(0xE000, 0x10000))):
        for host in (character, f"{character}a", f"a{character}b"):
            if matches("idn-email", f"a@{host}"):
                assert validators("idn-email")[-1].validate(f'"a@{host}"') is None, host


@examples(300)
@given(st.lists(st.text(st.sampled_from("aZ9é-縮힣яऍ"), min_size=14, max_size=61), min_size=1, max_size=4))
def test_hosts_beyond_ascii_keep_to_the_lengths_of_punycode(labels: list[str]) -> None:
    address = f"a@{'.'.join(labels)}"
    if matches("idn-email", address):
        assert verdicts("idn-email", address) == {True}


@pytest.mark.parametrize("name", sorted(VALIDATED))
def test_formats_without_an_expression_are_validated_in_every_draft(name: str) -> None:
    assert verdicts(name, {"regex": "(", "idn-hostname": "-é-"}[name]) == {False}
    assert verdicts(name, {"regex": "a", "idn-hostname": "l·l"}[name]) == {True}


@pytest.mark.parametrize("name", [*FORMATS, *sorted(VALIDATED)])
@pytest.mark.parametrize("value", ["1", "null", "[]", "true", '{"a": 1.5}'])
def test_formats_apply_to_strings_only(name: str, value: str) -> None:
    for draft in DRAFTS.values():
        assert Validator({"format": name, **({"$schema": draft} if draft else {})}).validate(value) is None


@pytest.mark.parametrize("name", ANNOTATIONS)
def test_formats_that_json_schema_does_not_define_are_no_rule(name: str) -> None:
    assert name not in {*FORMATS, *VALIDATED}
    assert verdicts(name, "\x01 (:{") == {True}
