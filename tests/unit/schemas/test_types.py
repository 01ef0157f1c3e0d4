from decimal import Decimal
from typing import Any

import pytest

from tessera.schemas.types import equal, types_named, types_of


@pytest.mark.parametrize(
    ("value", "types"),
    [
        (None, {"null"}),
        (True, {"boolean"}),
        (1, {"integer", "number"}),
        (1.0, {"integer", "number"}),
        (1.5, {"number"}),
        (Decimal("1e400"), {"integer", "number"}),
        (Decimal("0.1"), {"number"}),
        ("1", {"string"}),
        ([1], {"array"}),
        ((1,), {"array"}),
        ({"a": 1}, {"object"}),
    ],
)
def test_a_value_has_its_types(value: Any, types: set[str]) -> None:
    assert types_of(value) == types


def test_a_schema_of_numbers_takes_integers() -> None:
    assert types_named({"type": ["number", "null"]}) == {"number", "integer", "null"}
    assert types_named({"type": "integer"}) == {"integer"}
    assert len(types_named({})) == 7


@pytest.mark.parametrize(
    ("left", "right", "are_equal"),
    [
        (1, 1.0, True),
        (0.1, Decimal("0.1"), True),
        (1, True, False),
        ([1, {"a": 0}], [1.0, {"a": 0.0}], True),
        ([0], [False], False),
        ({"a": 1}, {"b": 1}, False),
        ("1", 1, False),
        (None, False, False),
    ],
)
def test_values_are_equal_as_json_has_it(left: Any, right: Any, are_equal: bool) -> None:
    assert equal(left, right) is are_equal
    assert equal(right, left) is are_equal
