"""Every keyword of the table does what the table says."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.conformance.schemas.conftest import Vocabulary
from tests.format_values import FORMAT_VALUES

from tessera.errors import InvalidSchema
from tessera.schemas.check import check_schema
from tessera.schemas.keywords import KEYWORDS
from tessera.schemas.string_formats import FORMATS, VALIDATED
from tessera.schemas.validation import Validator

Case = tuple[dict[str, Any], list[Any], list[Any]]

LIST: dict[str, Any] = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
            },
            "required": ["value", "next"],
            "additionalProperties": False,
        }
    },
    "$ref": "#/$defs/node",
}
TREE = {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}}
UNION = {
    "oneOf": [{"$ref": "#/$defs/cat"}, {"$ref": "#/$defs/dog"}],
    "$defs": {
        "cat": {
            "type": "object",
            "properties": {"kind": {"const": "cat"}, "lives": {"type": "integer"}},
            "required": ["kind"],
            "additionalProperties": False,
        },
        "dog": {
            "type": "object",
            "properties": {"kind": {"const": "dog"}, "barks": {"type": "boolean"}},
            "required": ["kind"],
            "additionalProperties": False,
        },
    },
}

ENFORCED: dict[str, list[Case]] = {
    "type": [
        ({"type": "string"}, ["", "año 😀", '"\\\n\t'], [1, None, True, [], {}]),
        ({"type": "integer"}, [0, -7, 123456789], [1.5, "1", None]),
        ({"type": "number"}, [0, -1.25, 3], ["1", None]),
        ({"type": "boolean"}, [True, False], [0, "true", None]),
        ({"type": "null"}, [None], [0, "null", False]),
        ({"type": "array"}, [[], [1, ["a", None]]], [{}, "[]"]),
        ({"type": "object"}, [{}, {"a": {"b": [1]}}], [[], "{}"]),
        ({"type": ["string", "null"]}, ["a", None], [1, []]),
    ],
    "enum": [
        (
            {"enum": ["a", 'b"c', 1, None, True, [1], {"x": 2}]},
            ["a", 'b"c', 1, None, True, [1], {"x": 2}],
            ["b", 2, False],
        )
    ],
    "const": [
        ({"const": {"a": [1, "x"]}}, [{"a": [1, "x"]}], [{"a": [1]}, {}]),
        ({"const": 1.5}, [1.5], [1, 2]),
    ],
    "$ref": [
        (
            LIST,
            [{"value": 1, "next": None}, {"value": 1, "next": {"value": 2, "next": None}}],
            [{"value": 1}, {"value": 1, "next": {}}],
        ),
        (TREE, [{}, {"children": [{}, {"children": [{}]}]}], [{"children": {}}, {"children": [1]}]),
        (
            {"properties": {"a": {"type": "integer"}, "b": {"$ref": "#/properties/a"}}},
            [{"a": 1, "b": 2}],
            [{"a": 1, "b": "2"}],
        ),
        (
            {"$defs": {"a/b c": {"type": "string"}}, "$ref": "#/$defs/a~1b%20c", "maxLength": 1},
            ["x"],
            ["xy", 1],
        ),
    ],
    "allOf": [({"allOf": [{"type": "integer", "minimum": 2}, {"maximum": 4}]}, [2, 4], [1, 5, "2"])],
    "anyOf": [({"anyOf": [{"type": "integer"}, {"type": "string", "maxLength": 1}]}, [1, "a"], ["ab", None])],
    "oneOf": [
        (
            UNION,
            [{"kind": "cat", "lives": 9}, {"kind": "dog", "barks": True}],
            [{"kind": "cat", "barks": True}, {"kind": "cow"}],
        ),
        (
            {"oneOf": [{"type": "integer"}, {"type": "null"}], "anyOf": [{"minimum": 3}, {"type": "null"}]},
            [3, None],
            [2, "a"],
        ),
    ],
    "properties": [
        (
            {"properties": {"a": {"type": "integer"}, "b": {"type": "string"}}},
            [{"a": 1, "b": "x"}, {"b": "x"}, {}],
            [{"a": "1"}],
        )
    ],
    "patternProperties": [
        (
            {
                "type": "object",
                "patternProperties": {"^x": {"type": "integer"}},
                "additionalProperties": False,
            },
            [{"x1": 2}, {}],
            [{"x1": "2"}, {"y": 1}],
        )
    ],
    "additionalProperties": [
        (
            {"type": "object", "properties": {"a": {}}, "additionalProperties": False},
            [{"a": 1}, {}],
            [{"b": 1}],
        ),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, [{"n": 1, "m": 2}], [{"n": "1"}]),
    ],
    "required": [
        (
            {"type": "object", "properties": {"a": {}, "b": {}}, "required": ["b"]},
            [{"b": 1}, {"a": 1, "b": 2}],
            [{}, {"a": 1}],
        )
    ],
    "minProperties": [
        ({"type": "object", "minProperties": 1}, [{"a": 1}, {"a": 1, "b": 2}], [{}]),
        (
            {"type": "object", "properties": {"a": {}, "b": {"type": "null"}}, "minProperties": 1},
            [{"a": 1}, {"b": None}, {"a": 1, "b": None}, {"c": 1}, {"b": None, "c": 1}],
            [{}, {"b": 1}],
        ),
        (
            {"properties": {"a": {}, "b": {}}, "additionalProperties": False, "minProperties": 1},
            [{"a": 1}, {"b": 2}, {"a": 1, "b": 2}, [], "x"],
            [{}, {"c": 1}],
        ),
    ],
    "maxProperties": [({"type": "object", "maxProperties": 1}, [{}, {"a": 1}], [{"a": 1, "b": 2}])],
    "propertyNames": [
        (
            {
                "type": "object",
                "propertyNames": {"enum": ["a", "b"]},
                "additionalProperties": {"type": "null"},
            },
            [{}, {"a": None}, {"a": None, "b": None}],
            [{"c": None}, {"a": 1}],
        ),
        ({"type": "object", "propertyNames": {"pattern": "^x"}}, [{}, {"x1": 2}], [{"y": 1}]),
    ],
    "items": [({"type": "array", "items": {"type": "integer"}}, [[], [1, 2]], [["1"], [1, None]])],
    "prefixItems": [
        (
            {
                "type": "array",
                "prefixItems": [{"type": "integer"}, {"type": "string"}],
                "items": False,
                "minItems": 2,
            },
            [[1, "a"]],
            [["a", 1], [1], [1, "a", 2]],
        )
    ],
    "additionalItems": [
        (
            {
                "$schema": "http://json-schema.org/draft-07/schema#",
                "type": "array",
                "items": [{"type": "integer"}],
                "additionalItems": False,
            },
            [[1]],
            [["a"], [1, 2]],
        )
    ],
    "minItems": [
        ({"type": "array", "minItems": 2, "items": {"type": "integer"}}, [[1, 2], [1, 2, 3]], [[], [1]])
    ],
    "maxItems": [({"type": "array", "maxItems": 2, "items": {"type": "integer"}}, [[], [1, 2]], [[1, 2, 3]])],
    "minLength": [({"type": "string", "minLength": 2}, ["éé", "😀😀"], ["", "a", "😀"])],
    "maxLength": [({"type": "string", "maxLength": 2}, ["", "\n\n", "😀😀"], ["abc"])],
    "pattern": [
        ({"type": "string", "pattern": "^[a-z]+(-[a-z]+)*$"}, ["a", "a-bc"], ["", "A", "a-", "a\n"]),
        ({"type": "string", "pattern": "b|^a"}, ["a", "xbx", "ab"], ["xa", ""]),
        (
            {"type": "string", "pattern": r"^\d\w\s\u0041[[&]\/$"},
            ["1_ A[/", "1a\u00a0A&/"],
            ["1a A/", "aaaaaa"],
        ),
        (
            {"type": "string", "pattern": "^a", "format": "date", "allOf": [{"pattern": "b$"}]},
            [],
            ["2024-01-01", "ab"],
        ),
    ],
    "format": [],
    "minimum": [
        ({"type": "integer", "minimum": -3}, [-3, 0, 12], [-4, -30]),
        ({"type": "number", "minimum": 0.5}, [0.5, 7], [0.4, -1]),
    ],
    "maximum": [
        ({"type": "integer", "maximum": 12}, [12, 3, -500], [13, 20]),
        ({"type": "integer", "maximum": 2**63 - 1}, [5], [2**60]),
    ],
    "exclusiveMinimum": [({"type": "number", "exclusiveMinimum": 0}, [0.1, 3], [0, -1])],
    "exclusiveMaximum": [({"type": "number", "exclusiveMaximum": 1}, [0.9, -4], [1, 1.5])],
    "multipleOf": [
        ({"type": "integer", "multipleOf": 7}, [0, 14, -21], [1, 15]),
        ({"type": "number", "multipleOf": 0.01}, [0.3, 1.25, 2], [0.001]),
    ],
}
ENFORCED["format"] = [
    ({"type": "string", "format": name}, list[Any](values.good), list[Any](values.bad))
    for name, values in FORMAT_VALUES.items()
]

RELAXED: dict[str, tuple[dict[str, Any], Any]] = {
    "uniqueItems": ({"type": "array", "uniqueItems": True}, [1, 1]),
    "contains": ({"type": "array", "contains": {"const": 1}}, [2]),
    "minContains": ({"type": "array", "contains": {"const": 1}, "minContains": 2}, [1]),
    "maxContains": ({"type": "array", "contains": {"const": 1}, "maxContains": 1}, [1, 1]),
    "propertyNames": ({"type": "object", "propertyNames": {"maxLength": 1}}, {"ab": 1}),
    "dependencies": ({"type": "object", "dependencies": {"a": ["b"]}}, {"a": 1}),
    "$dynamicRef": (
        {"$dynamicRef": "#n", "$defs": {"n": {"$dynamicAnchor": "n", "type": "integer"}}},
        "a",
    ),
    "$recursiveRef": (
        {
            "$schema": "https://json-schema.org/draft/2019-09/schema",
            "type": "object",
            "properties": {"a": {"$recursiveRef": "#"}},
        },
        {"a": 1},
    ),
    "not": ({"type": "integer", "not": {"const": 3}}, 3),
    "if": ({"type": "integer", "if": {"minimum": 5}, "then": {"multipleOf": 2}}, 7),
    "then": ({"if": True, "then": {"type": "string"}}, 7),
    "else": ({"if": False, "else": {"type": "string"}}, 7),
    "dependentRequired": ({"type": "object", "dependentRequired": {"a": ["b"]}}, {"a": 1}),
    "dependentSchemas": ({"type": "object", "dependentSchemas": {"a": {"required": ["b"]}}}, {"a": 1}),
    "unevaluatedProperties": ({"type": "object", "allOf": [{}], "unevaluatedProperties": False}, {"a": 1}),
    "unevaluatedItems": ({"type": "array", "allOf": [{}], "unevaluatedItems": False}, [1]),
    "oneOf": ({"oneOf": [{"type": "integer"}, {"type": "number", "minimum": 5}]}, 6),
    "minProperties": ({"type": "object", "properties": {"a": {}, "b": {}}, "minProperties": 2}, {"a": 1}),
    "maxProperties": (
        {"type": "object", "properties": {"a": {}}, "maxProperties": 2},
        {"a": 1, "b": 2, "c": 3},
    ),
    "pattern": ({"type": "string", "pattern": r"\bfoo\b"}, "food"),
    "format": ({"type": "string", "format": "regex"}, "("),
    "enum": ({"enum": [2**60]}, 1),
}
CASES = [(keyword, *case) for keyword, cases in ENFORCED.items() for case in cases]


def test_every_keyword_of_the_table_has_its_cases() -> None:
    by_fate = {
        fate: {k for k, rule in KEYWORDS.items() if rule.fate == fate} for fate in ("enforced", "relaxed")
    }
    assert by_fate["enforced"] == ENFORCED.keys()
    assert by_fate["relaxed"] <= RELAXED.keys() <= by_fate["relaxed"] | by_fate["enforced"]
    assert FORMATS.keys() == FORMAT_VALUES.keys()
    assert all(rule.why for rule in KEYWORDS.values() if rule.fate == "relaxed")


@pytest.mark.parametrize(("keyword", "schema", "valid", "invalid"), CASES)
def test_enforced(
    keyword: str,
    schema: dict[str, Any],
    valid: list[Any],
    invalid: list[Any],
    vocabulary: Vocabulary,
    json_lark: Callable[..., str],
) -> None:
    # Where nothing fits, compiling shows it.
    lark = json_lark(schema, True) if valid else ""
    validator = Validator(schema)
    for value in valid:
        text = json.dumps(value, ensure_ascii=False)
        assert vocabulary.accepts(lark, list(text.encode())), text
        assert validator.validate(text) is None
    for value in invalid:
        text = json.dumps(value, ensure_ascii=False)
        assert lark is None or not vocabulary.accepts(lark, list(text.encode())), text
        if value not in (2**60,):
            assert validator.validate(text) is not None, text


@pytest.mark.parametrize("keyword", RELAXED)
def test_relaxed_is_refused_when_strict_and_validated_when_not(
    keyword: str, json_lark: Callable[..., str], vocabulary: Vocabulary
) -> None:
    schema, invalid = RELAXED[keyword]
    with pytest.raises(InvalidSchema) as refusal:
        check_schema(schema, strict=True, param="schema")
    assert refusal.value.param == "schema"
    assert "at #/" in refusal.value.message
    text = json.dumps(invalid)
    assert vocabulary.accepts(json_lark(schema, False), list(text.encode()))
    assert Validator(schema).validate(text)


@pytest.mark.parametrize("keyword", [k for k, rule in KEYWORDS.items() if rule.fate == "annotation"])
def test_annotations_say_nothing(keyword: str) -> None:
    values = {"$defs": {}, "definitions": {}, "examples": [1], "deprecated": True, "readOnly": True}
    values |= {"writeOnly": True, "$vocabulary": {"urn:x": True}, "contentSchema": {"type": "integer"}}
    values |= {"$schema": "https://json-schema.org/draft/2020-12/schema", "$anchor": "a"}
    schema = {"type": "string", keyword: values.get(keyword, "urn:a" if "id" in keyword else "a")}
    if keyword == "$dynamicAnchor":
        schema[keyword] = "a"
    assert check_schema(schema, strict=True, param="schema").root == {"type": "string"}


@pytest.mark.parametrize("schema", [{"type": "string", "nullable": True}, {"type": "string", "x-order": 1}])
def test_unknown_keywords_say_nothing(schema: dict[str, Any]) -> None:
    assert check_schema(schema, strict=True, param="schema").root == {"type": "string"}


@pytest.mark.parametrize("name", sorted(VALIDATED))
def test_formats_that_are_only_validated_are_known_to_the_validator(name: str) -> None:
    wrong = {"regex": "(", "idn-hostname": "-a-"}
    assert Validator({"format": name}).validate(json.dumps(wrong[name]))


def test_the_client_cannot_change_the_spelling(vocabulary: Vocabulary, json_lark: Callable[..., str]) -> None:
    schema = {"type": "object", "x-guidance": {"whitespace_flexible": True, "lenient": True}}
    assert vocabulary.accepts(json_lark(schema, True), list(b'{"a": 1}'))
    assert not vocabulary.accepts(json_lark(schema, True), list(b'{ "a":  1}'))


def test_no_name_comes_twice_by_another_spelling(
    vocabulary: Vocabulary, json_lark: Callable[..., str]
) -> None:
    lark = json_lark({"type": "object", "properties": {"b": {"type": "integer"}}}, True)
    assert not vocabulary.accepts(lark, list(rb'{"b": 1, "\u0062": "x"}'))
