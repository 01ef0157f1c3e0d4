from typing import Any

import pytest

from tessera.errors import InvalidSchema
from tessera.schemas.check import check_schema


@pytest.mark.parametrize(
    ("schema", "where"),
    [
        (
            {"properties": {"a/b": {"type": "array", "uniqueItems": True}}},
            "#/properties/a~1b/uniqueItems: `uniqueItems`",
        ),
        ({"$defs": {"a": {"not": {"const": 1}}}, "$ref": "#/$defs/a"}, "#/$defs/a/not: `not`"),
        ({"anyOf": [{}, {"pattern": "(?=a)b"}]}, "#/anyOf/1/pattern: `pattern`"),
        ({"items": {"maxItems": 10**9}}, "#/items/maxItems: `maxItems`"),
        ({"dependencies": {"a": ["b"]}}, "#/dependentRequired: `dependentRequired`"),
        ({"properties": {"a": {"$ref": "x.json"}}}, "#/properties/a/$ref: `$ref`"),
        ({"properties": {"a": {"type": "strin"}}}, "#/properties/a/type: `type`"),
        ({"minimum": 2**60}, "#/minimum: `minimum`"),
        ({"oneOf": [{}, {}]}, "#/oneOf: `oneOf`"),
        ({"const": "a\x1fb"}, "#/const: `const`: a control character"),
        ({"enum": ["a", [{"b": "\0"}]]}, "#/enum: `enum`: a control character"),
        ({"properties": {"a": {"const": {"b": "\x7f"}}}}, "#/properties/a/const: `const`"),
        ({"enum": [[2**60]]}, "#/enum: `enum`: a number beyond"),
        ({"patternProperties": {r"^a/\b": {}}}, r"#/patternProperties/^a~1\b: `patternProperties`"),
        ({"patternProperties": {"(?!a)$": {}}}, "#/patternProperties/(?!a)$: `patternProperties`"),
        ({"patternProperties": {"a" * 250 + str(i): {} for i in range(80)}}, "more than 16384 characters"),
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


def test_constants_that_cannot_be_written_leave_the_others_enforced() -> None:
    assert check_schema({"enum": [",", "\x01", ["\x1b"]]}, strict=False, param="p").root == {"enum": [","]}
    assert check_schema({"enum": ["\x01"]}, strict=False, param="p").root == {}
    assert check_schema({"const": "\x01"}, strict=False, param="p").root == {}


def tagged(tag: Any, **others: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"kind": tag, **others}, "required": ["kind"]}


LEAF, PAIR = {"$ref": "#/$defs/leaf"}, {"$ref": "#/$defs/pair"}
TREE = {"oneOf": [LEAF, PAIR]}
DEFINITIONS = {"leaf": tagged({"const": "leaf"}), "pair": tagged({"const": "pair"}, left=TREE, right=TREE)}


@pytest.mark.parametrize(
    "branches",
    [
        [{"type": "integer"}, {"type": ["string", "null"]}],
        [{"type": "integer"}, {"type": "number", "minimum": 0.5, "maximum": 0.75}],
        [{"enum": [1, "a"]}, {"const": True}],
        [tagged({"const": "a"}), tagged({"enum": ["b", "c"]}, other={"pattern": "[a-z-_.]"})],
        [{**tagged({"const": "a"}), "description": "it"}, {"anyOf": [tagged({"const": "b"}), {"const": 1}]}],
        [tagged({"const": "a"}), {"properties": {"kind": {"const": "b"}}, "type": "object"}],
        [LEAF, PAIR],
        [{"$ref": "#/$defs/leaf", "title": "annotations count for nothing"}, PAIR],
        [False, {}],
    ],
)
def test_one_of_is_any_of_where_no_value_fits_two_branches(branches: list[Any]) -> None:
    root = check_schema({"oneOf": branches, "$defs": DEFINITIONS}, strict=True, param="p").root
    assert isinstance(root, dict)
    assert isinstance(root["anyOf"], list)
    assert len(root["anyOf"]) == len(branches)


@pytest.mark.parametrize(
    "branches",
    [
        [{"type": "integer"}, {"type": "number"}],
        [{"const": 1}, {"const": 1.0}],
        [{"properties": {"kind": {"const": "a"}}}, {"properties": {"kind": {"const": "b"}}}],
        [{"type": "string", "pattern": "^a"}, {"type": "string", "pattern": "^b"}],
        [PAIR, PAIR],
        [{"const": i} for i in range(65)],
        [{"type": "string", "format": "hostname"}, {"const": "xn--nxasmm1c"}],
        [{"type": "integer", "maximum": 2**60}, {"type": "integer", "exclusiveMinimum": 2**53}],
    ],
)
def test_one_of_is_refused_where_a_value_may_fit_two_branches(branches: list[Any]) -> None:
    with pytest.raises(InvalidSchema, match="#/oneOf: `oneOf`"):
        check_schema({"oneOf": branches, "$defs": DEFINITIONS}, strict=True, param="p")


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


REFERENCE_AS_DATA: list[dict[str, Any]] = [
    {keyword: value, "$defs": {"a": {"type": "string"}}}
    for target in ("#/$defs/a", "#/nowhere", "http://127.0.0.1:9/x")
    for data in ({"$ref": target}, {"properties": {"x": {"$ref": target}}}, [{"items": {"$ref": target}}])
    for keyword, value in (
        ("enum", [data]), ("const", data), ("default", data), ("examples", [data]), ("x-unknown", data),
    )
]  # fmt: skip


@pytest.mark.parametrize("schema", REFERENCE_AS_DATA, ids=str)
@pytest.mark.parametrize("strict", [True, False])
def test_constants_and_examples_hold_data_and_no_references(schema: Any, strict: bool) -> None:
    for within in (schema, {"type": "object", "properties": {"v": schema}}):
        document = check_schema(within, strict=strict, param="p")
        assert document.definitions == {}
        alone = document.standing_alone(document.root)
        assert "$defs" not in alone
    kept = {name: schema[name] for name in ("enum", "const") if name in schema}
    assert check_schema(schema, strict=strict, param="p").root == kept


SAYS_NOTHING: list[dict[str, Any]] = [
    {"type": "object", "propertyNames": {"type": "string"}},
    {"type": "object", "propertyNames": True},
    {"type": "object", "propertyNames": {"description": "a name"}},
    {"type": "object", "additionalProperties": {}, "unevaluatedProperties": {}},
    {"type": "object", "dependentRequired": {}},
    {"type": "object", "dependentRequired": {"a": []}},
    {"type": "object", "dependentSchemas": {"a": True}},
    {"type": "object", "dependencies": {"a": [], "b": {}}},
    {"type": "object", "minProperties": 0},
    {"type": "object", "uniqueItems": True, "contains": {"const": 1}, "pattern": r"\b"},
    {"type": "object", "patternProperties": {}},
    {"type": "object", "not": False},
    {"type": "object", "if": {"required": ["a"]}},
    {"type": "object", "if": {"required": ["a"]}, "then": {}, "else": True},
    {"type": "object", "then": False, "else": False},
    {"type": "object", "minContains": 2},
    {"type": "object", "format": "some-format-of-ours"},
    {"type": "object", "unevaluatedItems": False, "maxContains": 0},
]


@pytest.mark.parametrize("schema", SAYS_NOTHING, ids=str)
def test_what_says_nothing_is_no_reason_to_refuse(schema: Any) -> None:
    root: Any = check_schema(schema, strict=True, param="p").root
    assert {name: value for name, value in root.items() if value != {}} == {"type": "object"}


OLDER_FORMS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"items": [{"type": "null"}]}, {"prefixItems": [{"type": "null"}]}),
    (
        {"items": [{"type": "null"}], "additionalItems": False},
        {"prefixItems": [{"type": "null"}], "items": False},
    ),
    ({"items": {"type": "null"}, "additionalItems": False}, {"items": {"type": "null"}}),
    ({"minimum": 3, "exclusiveMinimum": True}, {"minimum": 3, "exclusiveMinimum": 3}),
    ({"maximum": 3, "exclusiveMaximum": False}, {"maximum": 3}),
    ({"maxItems": 2.0, "minLength": 1.0}, {"maxItems": 2, "minLength": 1}),
    ({"unevaluatedProperties": False, "properties": {}}, {"additionalProperties": False, "properties": {}}),
    ({"not": {}}, {"enum": []}),
    ({"$schema": "https://example.com/our-own-dialect", "type": "null"}, {"type": "null"}),
    (
        {"$schema": "http://json-schema.org/draft-07/schema#", "$ref": "#/definitions/a", "minimum": 3}
        | {"definitions": {"a": {"type": "integer"}}},
        {"$ref": "#/$defs/~1definitions~1a"},
    ),
]


@pytest.mark.parametrize(("schema", "meant"), OLDER_FORMS, ids=str)
def test_the_forms_of_older_drafts_are_read(schema: Any, meant: Any) -> None:
    document = check_schema(schema, strict=True, param="p")
    root = document.standing_alone(document.root)
    assert {name: value for name, value in root.items() if name != "$defs"} == meant


# What serializers and tools send although no draft from 4 on allows it.
CERTAIN_IN_MEANING: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {"type": "object", "required": None, "properties": {"a": {"enum": None, "description": None}}},
        {"type": "object", "properties": {"a": {}}},
    ),
    ({"properties": None, "additionalProperties": None, "items": None, "not": None, "$ref": None}, {}),
    ({"items": [{"type": "null"}], "additionalItems": None}, {"prefixItems": [{"type": "null"}]}),
    ({"const": None}, {"const": None}),
    ({"enum": [None]}, {"enum": [None]}),
    ({"type": ["null", "null"], "required": ["a", "b", "a"]}, {"type": ["null"], "required": ["a", "b"]}),
    (
        {"properties": {"a": {"type": "null", "required": True}, "b": {"required": False}}},
        {"properties": {"a": {"type": "null"}, "b": {}}, "required": ["a"]},
    ),
    (
        {"properties": {"a": {"required": True}, "required": {"required": ["x"]}}, "required": ["b", "a"]},
        {"properties": {"a": {}, "required": {"required": ["x"]}}, "required": ["b", "a"]},
    ),
]


@pytest.mark.parametrize("draft", [None, "http://json-schema.org/draft-07/schema#"])
@pytest.mark.parametrize(("schema", "meant"), CERTAIN_IN_MEANING, ids=str)
def test_what_is_certain_in_meaning_is_taken(schema: Any, meant: Any, draft: str | None) -> None:
    named = schema if draft is None else {**schema, "$schema": draft}
    assert check_schema(named, strict=True, param="p").root == meant


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": None}},
        {"required": "a"},
        {"required": [1, 1]},
        {"type": None, "enum": 1},
        {"anyOf": [None]},
    ],
    ids=str,
)
def test_what_is_uncertain_in_meaning_is_refused(schema: Any) -> None:
    with pytest.raises(InvalidSchema):
        check_schema(schema, strict=False, param="p")


def test_a_circular_definition_counts_only_where_something_refers_to_it() -> None:
    definitions = {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"anyOf": [{"$ref": "#/$defs/a"}]}}}
    assert check_schema({"type": "null", **definitions}, strict=True, param="p").root == {"type": "null"}
    with pytest.raises(InvalidSchema, match="refers to itself"):
        check_schema({"properties": {"x": {"$ref": "#/$defs/a"}}, **definitions}, strict=False, param="p")


BY_NAME: list[dict[str, Any]] = [
    {"$ref": "#text", "$defs": {"a": {"$anchor": "text", "type": "string"}}},
    {"$id": "https://x.test/s.json", "$ref": "s.json#/$defs/a", "$defs": {"a": {"type": "string"}}},
    {"$id": "https://x.test/s.json", "$ref": "t.json", "$defs": {"a": {"$id": "t.json", "type": "string"}}},
    {"$id": "urn:x:1", "$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}},
    {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$ref": "#text",
        "definitions": {"a": {"$id": "#text", "type": "string"}},
    },
    {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "$ref": "t.json#",
        "definitions": {"a": {"id": "t.json", "type": "string"}},
    },
]


@pytest.mark.parametrize("schema", BY_NAME, ids=str)
def test_references_by_name_are_found(schema: Any) -> None:
    document = check_schema(schema, strict=True, param="p")
    assert [*document.definitions.values()] == [{"type": "string"}]


@pytest.mark.parametrize(
    "names",
    [{"enum": ["a", "b"]}, {"const": "a"}, {"pattern": "^[ab]$"}, {"type": "string", "minLength": 1}],
    ids=str,
)
def test_rules_for_names_are_kept_where_nothing_else_names_properties(names: Any) -> None:
    schema = {"type": "object", "propertyNames": names, "additionalProperties": {"type": "integer"}}
    root: Any = check_schema(schema, strict="minLength" not in names, param="p").root
    if "minLength" not in names:
        assert root["additionalProperties"] is False
        named: Any = root.get("properties", root.get("patternProperties"))
        assert next(iter(named.values())) == {"type": "integer"}
    with pytest.raises(InvalidSchema, match="propertyNames"):
        check_schema({**schema, "properties": {"a": {}}}, strict=True, param="p")
