import json
from typing import Any

import pytest
from tests.format_values import DRAFTS

from tessera.schemas.string_formats import FORMATS, VALIDATED
from tessera.schemas.validation import Validator, schema_problem


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (True, "1e400"),
        ({"type": "integer"}, "1.0"),
        ({"multipleOf": 0.1}, "0.3"),
        ({"maximum": 10}, "-123456789012345678901234567890"),
        ({"type": "object"}, '{"a": [1, "\\ud83d\\ude00"]}'),
    ],
)
def test_valid(schema: dict[str, object] | bool, text: str) -> None:
    assert Validator(schema).validate(text) is None  # type: ignore[arg-type] - plain JSON


@pytest.mark.parametrize(
    ("schema", "text", "problem"),
    [
        (True, "NaN", "not JSON"),
        (True, "-Infinity", "not JSON"),
        (True, '{"a": 1', "not JSON"),
        (True, "[" * 100_000, "not JSON"),
        ({"type": "integer"}, "1.5", "at #: breaks `type`"),
        ({"properties": {"a": {"maxLength": 1}}}, '{"a": "secret"}', "at #/a: breaks `maxLength`"),
        ({"format": "date"}, '"2023-02-29"', "at #: breaks `format`"),
    ],
)
def test_invalid(schema: dict[str, object] | bool, text: str, problem: str) -> None:
    found = Validator(schema).validate(text)  # type: ignore[arg-type] - plain JSON
    assert found is not None
    assert found.startswith(problem)
    assert "secret" not in found


def test_problems_of_schemas_name_the_place() -> None:
    problem = schema_problem({"properties": {"a/b": {"minimum": "1"}}})
    assert problem is not None
    assert problem.pointer == "/properties/a~1b/minimum"
    assert problem.message.startswith("`minimum`")
    assert schema_problem({"properties": {"a": {"minimum": 1}}}) is None


@pytest.mark.parametrize("draft", DRAFTS.values(), ids=DRAFTS)
@pytest.mark.parametrize("name", [*FORMATS, *sorted(VALIDATED)])
def test_formats_are_asserted_in_every_draft(name: str, draft: str | None) -> None:
    schema = {"properties": {"a": {"format": name}}, **({"$schema": draft} if draft else {})}
    assert Validator(schema).validate(r'{"a": "\u0001 (:{"}') == "at #/a: breaks `format`"


def test_formats_are_asserted_in_an_older_draft_inside_a_newer_one() -> None:
    older = {"$id": "urn:x", "$schema": DRAFTS["draft-04"], "format": "uuid"}
    schema = {"$schema": DRAFTS["2020-12"], "properties": {"a": older}}
    assert Validator(schema).validate('{"a": "x"}') == "at #/a: breaks `format`"  # type: ignore[arg-type]


def test_a_mail_address_has_no_display_name() -> None:
    assert Validator({"format": "email"}).validate('"Me <me@example.com>"')


WITHOUT_A_DRAFT = [
    ({"items": [{"type": "string"}], "unevaluatedItems": False}, [["a"]], [["a", "b"]]),
    ({"items": [{"type": "string"}], "additionalItems": False}, [["a"]], [["a", "b"], [1]]),
    ({"properties": {"a": {"$recursiveRef": "#"}}, "type": "object"}, [{"a": {}}], [{"a": 1}]),
    ({"dependencies": {"a": ["b"]}, "unevaluatedProperties": True}, [{"b": 1}], [{"a": 1}]),
    ({"dependencies": {"a": {"required": ["b"]}}}, [{"a": 1, "b": 1}], [{"a": 1}]),
    ({"minimum": 3, "exclusiveMinimum": True, "const": 4}, [4], [3, 5]),
    ({"prefixItems": [{"type": "null"}], "items": False}, [[None]], [[1], [None, None]]),
    ({"$schema": "https://example.com/ours", "type": "integer"}, [1], ["a"]),
    (
        {"properties": {"a": {"$schema": DRAFTS["2019-09"], "items": [{"type": "null"}]}}},
        [{"a": [None]}],
        [{"a": [1]}],
    ),
    ({"required": None, "properties": {"a": {"enum": None, "type": "null"}}}, [{}, {"a": None}], [{"a": 1}]),
    ({"required": ["a", "a"], "$schema": DRAFTS["draft-07"]}, [{"a": 1}], [{}]),
    ({"properties": {"a": {"required": True}, "b": {"required": False}}}, [{"a": 1}], [{"b": 1}]),
]


@pytest.mark.parametrize(("schema", "valid", "invalid"), WITHOUT_A_DRAFT, ids=str)
def test_every_form_counts_where_no_draft_is_named(schema: Any, valid: list[Any], invalid: list[Any]) -> None:
    validator = Validator(schema)
    assert [value for value in valid if validator.validate(json.dumps(value))] == []
    assert [value for value in invalid if not validator.validate(json.dumps(value))] == []
