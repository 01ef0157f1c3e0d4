"""Raw parameter values read by their schema."""

import json
import sys
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from tests.strategies import json_values

from tessera.schemas.signature import Signature


@dataclass(frozen=True)
class Case:
    id: str
    schema: Any
    read: dict[str, Any]
    only_text: bool = False


INTEGER, NULL, TEXT = {"type": "integer"}, {"type": "null"}, {"type": "string"}
BIG_OR_TEXT = {"anyOf": [TEXT, {**INTEGER, "minimum": 10}]}

CASES = (
    Case("integer", INTEGER, {"3": 3, "3.0": 3.0, "3.5": "3.5", "true": "true", "1_0": "1_0", '"3"': '"3"'}),
    Case("number", {"type": "number"}, {"3": 3, "-1.5e2": -150.0, "NaN": "NaN", "Infinity": "Infinity"}),
    Case("boolean", {"type": "boolean"}, {"true": True, "1": "1", "True": "True"}),
    Case("list of types", {"type": ["string", "null"]}, {"null": None, "x": "x", "3": "3", " null": " null"}),
    Case("quotes belong to a text", {"type": ["string", "null"]}, {'"x"': '"x"', '"a" or "b"': '"a" or "b"'}),
    Case("unless only the text between fits", {"enum": ["a", None]}, {'"a"': "a", '"b"': '"b"'}),
    Case("or is short enough", {"type": ["string", "null"], "maxLength": 2}, {'"ab"': "ab", "ab": "ab"}),
    Case("a number that does not fit is a text", BIG_OR_TEXT, {"5": "5", "12": 12, "12.0": 12.0, "x": "x"}),
    Case("so is one with blanks around it", BIG_OR_TEXT, {" 12": " 12", "12\t": "12\t", "1.2e1": 12.0}),
    Case(
        "JSON that does not fit is a text",
        {"anyOf": [TEXT, {"type": "array", "items": TEXT}]},
        {'["a"]': ["a"], '[ "a"]': ["a"], "[1]": "[1]", "{}": "{}"},
    ),
    Case("JSON that fits no better stays JSON", {"type": ["integer", "string"], "not": {}}, {"5": 5}),
    Case(
        "null for absent keywords",
        {"type": ["string", "integer"], "maximum": 3, "enum": None, "not": None, "if": None, "items": None},
        {"3": 3, "5": "5"},
    ),
    Case("any", {}, {"3": 3, "x": "x", "[1]": [1], '{"a": 1}': {"a": 1}, "": "", '"x"': '"x"'}),
    Case("anything", True, {"3": 3}),
    Case("object", {"type": "object"}, {'{"a": "1"}': {"a": "1"}, "[1]": "[1]", "{": "{"}),
    Case("text", TEXT, {}, only_text=True),
    Case("enum of texts", {"enum": ["1", "2"]}, {}, only_text=True),
    Case("text constant", {"const": "x"}, {}, only_text=True),
    Case("text by all of", {"allOf": [{"minLength": 1}, TEXT]}, {}, only_text=True),
    Case("text by any of", {"anyOf": [TEXT, {"enum": ["a"]}]}, {}, only_text=True),
    Case(
        "text by exclusion", {"type": ["string", "null"], "allOf": [{"enum": ["a", 1]}]}, {}, only_text=True
    ),
    Case("enum", {"enum": [1, "a", None]}, {"1": 1, "true": "true", "2": "2", "a": "a", "null": None}),
    Case("constant", {"const": [1]}, {"[1]": [1], "[2]": "[2]"}),
    Case("any of", {"anyOf": [INTEGER, NULL]}, {"1": 1, "null": None, "x": "x"}),
    Case("one of", {"oneOf": [INTEGER, {"type": "array"}]}, {"1": 1, "[]": [], "{}": "{}"}),
    Case("reference", {"$ref": "#/shared/a~1b"}, {"1": 1, "x": "x"}),
    Case("reference to text", {"$ref": "#/shared/list/0"}, {}, only_text=True),
    Case("reference to itself", {"$ref": "#/shared/self"}, {"1": 1, "x": "x"}),
    Case("reference that leads nowhere", {"$ref": "#/nowhere/3"}, {"1": 1}),
    Case("reference elsewhere", {"$ref": "https://example.com"}, {"1": 1}),
    Case("malformed", {"type": 5, "enum": 3, "anyOf": "x", "allOf": {}, "$ref": 1}, {"1": 1, "x": "x"}),
    Case("nothing", False, {"1": "1"}),
)
DEFINITIONS = {"a/b": INTEGER, "list": [TEXT], "self": {"$ref": "#/shared/self"}}


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_value_is_read_by_its_schema(case: Case) -> None:
    signature = Signature({"properties": {"p": case.schema}, "shared": DEFINITIONS})
    assert signature.only_text("p") == case.only_text
    read = {text: json.loads(signature.read("p", text)) for text in case.read}
    assert read == case.read
    assert [*map(type, read.values())] == [*map(type, case.read.values())]


def test_json_keeps_its_spelling() -> None:
    signature = Signature({"properties": {"p": {"type": "array"}}})
    assert signature.read("p", ' [1.0,"\\u00e9"]\n') == '[1.0,"\\u00e9"]'


def test_parameters_are_found_wherever_the_schema_lists_them() -> None:
    parts = {"a": {"properties": {"x": TEXT}}, "loop": {"$ref": "#/$defs/loop", "properties": {"y": TEXT}}}
    root = {"$ref": "#/$defs/a", "allOf": [{"$ref": "#/$defs/loop"}], "properties": {"z": INTEGER}}
    signature = Signature({**root, "$defs": parts})
    assert sorted(signature.names) == ["x", "y", "z"]
    assert signature.only_text("x")
    assert signature.read("undeclared", "3") == "3"


def test_hostile_schemas_and_values_cost_little() -> None:
    fan = {f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(60)}
    chain = {f"c{i}": {"$ref": f"#/$defs/c{i + 1}"} for i in range(5_000)}
    deep: Any = TEXT
    for _ in range(500):
        deep = {"allOf": [deep]}
    properties = {"fan": {"$ref": "#/$defs/d0"}, "chain": {"$ref": "#/$defs/c0"}, "deep": deep, "array": {}}
    signature = Signature({"$ref": "#/$defs/c0", "properties": properties, "$defs": {**fan, **chain}})
    assert signature.read("fan", "1") == signature.read("chain", "1") == "1"
    assert not signature.only_text("fan")
    assert signature.only_text("deep")
    nested = "[" * 100_000
    assert signature.read("array", nested) == json.dumps(nested)
    digits = "1" * 5_000
    assert signature.read("array", digits) == json.dumps(digits)


def test_large_schemas_are_walked_once() -> None:
    """Counted in calls, for this runs in the event loop."""
    n_calls = 0

    def count(frame: object, event: str, arg: object) -> None:
        nonlocal n_calls
        n_calls += event in ("call", "c_call")

    wide = {"anyOf": [{"type": "string", "pattern": f"^a{i}$"} for i in range(4_000)]}
    schema = {"properties": {f"p{i}": {"$ref": "#/$defs/w"} for i in range(100)}, "$defs": {"w": wide}}
    sys.setprofile(count)
    try:
        signature = Signature(schema)
        assert all(signature.only_text(name) for name in signature.names)
        assert signature.read("p5", "5") == '"5"'
    finally:
        sys.setprofile(None)
    assert n_calls < 120 * 4_000


@given(json_values)
def test_any_json_is_read_as_itself(value: Any) -> None:
    signature = Signature({"properties": {"p": {}}})
    text = json.dumps(value)
    assert json.loads(signature.read("p", text)) == (text if isinstance(value, str) else value)


RECORD = {"properties": {"n": INTEGER}, "additionalProperties": TEXT}


def test_parameters_that_are_not_listed_are_read_by_what_is_said_of_them() -> None:
    record = Signature(RECORD)
    assert record.only_text("other")
    assert not record.only_text("n")
    by_name = Signature({"patternProperties": {"^n": INTEGER}, "additionalProperties": TEXT})
    assert not by_name.only_text("n1")
    assert by_name.read("n1", "5") == "5"
    assert by_name.read("other", "5") == '"5"'
    assert Signature({"additionalProperties": False}).read("other", "5") == "5"


def test_a_union_of_objects_says_what_a_parameter_may_be() -> None:
    branches = [
        {"properties": {"v": {"type": ["string", "integer"], "maximum": limit}, "k": {"const": limit}}}
        | {"required": ["k", "v"]}
        for limit in (3, 5)
    ]
    signature = Signature({"anyOf": branches})
    assert [signature.read("v", text) for text in ("3", "5", "6")] == ["3", "5", '"6"']


def test_a_check_that_would_take_long_is_left_to_the_final_validation() -> None:
    fan: dict[str, Any] = {f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(60)}
    fan |= {"d60": {"type": ["string", "integer"], "minimum": 10}}
    twice = [{"type": "array", "items": {"$ref": "#/$defs/tree"}}] * 2
    fan |= {"tree": {"anyOf": [*twice, {"type": ["string", "integer"], "minimum": 10}]}}
    properties = {"fan": {"$ref": "#/$defs/d0"}, "tree": {"$ref": "#/$defs/tree"}}
    signature = Signature({"properties": properties, "$defs": fan})
    assert signature.read("fan", "5") == "5"
    assert signature.read("tree", "5") == '"5"'
    deep = "[" * 50 + "5" + "]" * 50
    assert signature.read("tree", deep) == deep
