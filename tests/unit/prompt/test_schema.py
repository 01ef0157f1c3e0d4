from typing import Any

import pytest

from tessera.errors import InvalidSchema
from tessera.prompt.schema import check_schema


@pytest.mark.parametrize(
    ("schema", "where"),
    [
        (
            {"properties": {"a/b": {"type": "array", "uniqueItems": True}}},
            "#/properties/a~1b/uniqueItems: `uniqueItems`",
        ),
        ({"$defs": {"a": {"not": {}}}, "$ref": "#/$defs/a"}, "#/$defs/a/not: `not`"),
        ({"anyOf": [{}, {"pattern": "(a+)+$"}]}, "#/anyOf/1/pattern: `pattern`"),
        ({"items": {"maxItems": 10**9}}, "#/items/maxItems: `maxItems`"),
        ({"properties": {"a": {"$ref": "x.json"}}}, "#/properties/a/$ref: `$ref`"),
        ({"properties": {"a": {"type": "strin"}}}, "#/properties/a/type: `type`"),
        ({"minimum": 2**60}, "#/minimum: `minimum`"),
        ({"oneOf": [{}, {}]}, "#/oneOf: `oneOf`"),
        ({"const": "a\x1fb"}, "#/const: `const`: a control character"),
        ({"enum": ["a", [{"b": "\0"}]]}, "#/enum: `enum`: a control character"),
        ({"properties": {"a": {"const": {"b": "\x7f"}}}}, "#/properties/a/const: `const`"),
        ({"enum": [[2**60]]}, "#/enum: `enum`: a number beyond"),
        ({"patternProperties": {r"^a/\b": {}}}, r"#/patternProperties/^a~1\b: `patternProperties`"),
        ({"patternProperties": {"(a+)+$": {}}}, "#/patternProperties/(a+)+$: `patternProperties`"),
        ({"patternProperties": {"a" * 250 + str(i): {} for i in range(40)}}, "more than 8192 characters"),
    ],
)
def test_refusals_name_the_place_and_the_keyword(schema: Any, where: str) -> None:
    with pytest.raises(InvalidSchema) as refusal:
        check_schema(schema, strict=True, param="p")
    assert where in refusal.value.message
    assert (refusal.value.status, refusal.value.param) == (400, "p")


def test_what_is_relaxed_is_left_out_and_the_rest_kept() -> None:
    schema = {"type": "array", "title": "t", "uniqueItems": True, "items": {"type": "integer", "minimum": 1}}
    document = check_schema(schema, strict=False, param="p")
    assert document.root == {"type": "array", "items": {"type": "integer", "minimum": 1}}


def test_limits_beyond_exact_numbers_are_drawn_in() -> None:
    schema = {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}
    root = check_schema(schema, strict=True, param="p").root
    assert root == {"type": "integer", "minimum": -(2**53), "maximum": 2**53}


def test_a_part_stands_alone_with_the_definitions_it_reaches() -> None:
    node = {
        "type": "object",
        "properties": {"next": {"$ref": "#/$defs/node"}, "name": {"$ref": "#/$defs/name"}},
    }
    schema = {
        "type": "object",
        "properties": {"list": {"$ref": "#/$defs/node"}, "n": {"type": "null"}},
        "$defs": {"node": node, "name": {"type": "string"}, "unused": {"type": "null"}},
    }
    document = check_schema(schema, strict=True, param="p")
    properties: Any = document.root["properties"]  # type: ignore[index] - it is an object
    assert document.standing_alone(properties["n"]) == {"type": "null"}
    alone: Any = document.standing_alone(properties["list"])
    assert alone["$ref"] == "#/$defs/~1$defs~1node"
    assert set(alone["$defs"]) == {"/$defs/node", "/$defs/name"}


def test_texts_and_unions_that_meet_are_all_kept() -> None:
    schema: Any = {
        "type": "string",
        "pattern": "^a",
        "format": "date",
        "anyOf": [{}],
        "oneOf": [{"minLength": 1}],
    }
    root: Any = check_schema(schema, strict=True, param="p").root
    assert root["pattern"] == "^(?:a(?s:.*))$"
    assert root["anyOf"] == [{}]
    assert [*root["allOf"][0]] == ["pattern"]
    assert root["allOf"][1] == {"anyOf": [{"minLength": 1}]}


def test_the_patterns_of_names_are_rewritten_and_may_become_one() -> None:
    schema: Any = {"patternProperties": {"^/$": {"type": "null"}, r"^\/$": {"const": None}, r"\b": {}}}
    root: Any = check_schema(schema, strict=False, param="p").root
    assert root == {"patternProperties": {r"^(?:\u{2f})$": {"allOf": [{"type": "null"}, {"const": None}]}}}
