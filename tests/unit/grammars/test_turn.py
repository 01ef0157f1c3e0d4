import re
from typing import Any

import pytest
from llguidance import LLMatcher, LLTokenizer

from tessera.core.chat import AnyJsonObject, ChatRequest, JsonSchema, Mode, Tool, ToolChoice
from tessera.errors import InvalidSchema
from tessera.formats.hermes import HERMES
from tessera.grammars.bytewise import ByteTokenizer
from tessera.grammars.llg import LIMITS, llg_tokenizer
from tessera.grammars.turn import build_grammar
from tessera.parsing.syntax import Syntax, Tags

XML = Syntax(("<|im_end|>",), Tags("<think>", "</think>"), Tags("<tool_call>", "</tool_call>"), "xml")
TAGS = {"<tool_call>": 257, "</tool_call>": 258, "<think>": 259, "</think>": 260}
CONTROL = {"<|im_end|>": 256, **TAGS}
SPELLED = {"<|im_end|>": 256}
WEATHER = Tool(
    "get_weather",
    {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer", "minimum": 1, "maximum": 7},
            "unit": {"type": "string", "enum": ["c", "f"]},
        },
        "required": ["city"],
    },
    {},
)
NOW = Tool("now", {}, {})


def xml(name: str = "get_weather", **parameters: str) -> str:
    values = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in parameters.items())
    return f"<tool_call>\n<function={name}>\n{values}</function>\n</tool_call>"


def hermes(arguments: str, name: str = "get_weather") -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


def byte_tokenizer(control: dict[str, int]) -> LLTokenizer:
    return llg_tokenizer(ByteTokenizer(261, control), [min(control.values())])


def accepts(text: str, syntax: Syntax = XML, control: dict[str, int] = CONTROL, **asked: Any) -> bool:
    asked.setdefault("tools", (WEATHER, NOW))
    grammar = build_grammar(ChatRequest((), **asked), syntax, control)
    assert grammar is not None
    matcher = LLMatcher(
        byte_tokenizer(control), LLMatcher.grammar_from_lark(grammar.lark), log_level=0, limits=LIMITS
    )
    assert not matcher.is_error(), matcher.get_error()
    parts = re.split("(</?tool_call>|</think>)", text)
    ids = [id for part in parts for id in ([control[part]] if part in control else part.encode())]
    return all(matcher.try_consume_tokens([id]) == 1 for id in ids) and matcher.is_accepting()


def test_free_text_without_tools_has_no_grammar() -> None:
    assert build_grammar(ChatRequest((), mode=Mode.THINKING), XML, CONTROL) is None


AUTO = {
    "Hola.": True,
    xml(city="Madrid"): True,
    "Voy.\n\n" + xml(city="León", days="3", unit="f"): True,
    xml(city="A") + "\n" + xml("now"): True,
    xml(city="A") + xml("now"): False,
    xml("nope"): False,
    xml(): False,
    xml(city="A", days="9"): False,
    xml(city="A", unit="k"): False,
    xml(days="1", city="A"): False,
    xml(city="line\n\n </parameter> and </function> more"): True,
    xml(city="a</parameter>\n<parameter=days>"): False,
    xml(city="\n"): True,
    "<function=now> is how it is called": True,
    "<function=now>\n</function>": False,
    "x</think>": False,
}


@pytest.mark.parametrize(("text", "allowed"), AUTO.items())
def test_auto(text: str, allowed: bool) -> None:
    assert accepts(text) is allowed


@pytest.mark.parametrize("control", [CONTROL, SPELLED], ids=["control", "spelled"])
@pytest.mark.parametrize(
    ("text", "asked", "allowed"),
    [
        ("Hola", {}, True),
        (hermes('{"city": "A", "days": 3}'), {}, True),
        ("Voy. " + hermes('{"city": "A"}') + "\n" + hermes("{}", "now"), {}, True),
        (hermes('{"city": "A"}', "nope"), {}, False),
        (hermes('{"days": 3}'), {}, False),
        (hermes('{"city":"A"}'), {}, False),
        ("<tool_call>", {}, False),
        ("Hola", {"tool_choice": ToolChoice("none")}, True),
        (hermes("{}", "now"), {"tool_choice": ToolChoice("none")}, False),
        ("think</think>\n\nHola", {"mode": Mode.THINKING}, True),
        ("think</think>\n\n" + hermes("{}", "now"), {"mode": Mode.THINKING}, True),
        ("think", {"mode": Mode.THINKING}, False),
        (hermes("{}", "now"), {"mode": Mode.THINKING}, False),
        ("think" + hermes("{}", "now") + "</think>\n\nHola", {"mode": Mode.THINKING}, False),
    ],
)
def test_json_calls(text: str, asked: dict[str, Any], allowed: bool, control: dict[str, int]) -> None:
    assert accepts(text, HERMES.syntax, control, **asked) is allowed


ONE, TWO = xml("now"), xml("now") + "\n" + xml("now")
NAMED = ToolChoice("required", frozenset({"now"}), named=True)


@pytest.mark.parametrize(
    ("asked", "allowed", "refused"),
    [
        ({"tool_choice": ToolChoice("none")}, ["Hola"], [ONE, "Hola " + ONE]),
        ({"tool_choice": ToolChoice("required")}, [ONE, TWO], ["Hola", "", "Hola " + ONE]),
        ({"tool_choice": NAMED}, [ONE], ["", TWO, xml(city="A")]),
        ({"tool_choice": NAMED, "parallel_tool_calls": False}, [ONE], ["", TWO]),
        ({"tool_choice": ToolChoice("auto", frozenset({"now"}))}, ["Hola", ONE], [xml(city="A")]),
        ({"parallel_tool_calls": False}, ["Hola", ONE, "Hola" + ONE], [TWO]),
        (
            {"answer_format": AnyJsonObject()},
            ['{"a": [1, {"b": null}]}', ONE, TWO],
            ["Hola", "[]", "Hola" + ONE],
        ),
        ({"answer_format": JsonSchema("x", {"type": "null"})}, ["null", ONE], ["1"]),
        (
            {"answer_format": AnyJsonObject(), "tools": ()},
            ["{}", '{"a": 1}'],
            ["[]", '{"a":1}', "{ }", " {}", "{}\n", ONE],
        ),
        (
            {"mode": Mode.THINKING, "answer_format": AnyJsonObject(), "tools": ()},
            ["a {no} b\n</think>\n\n{}"],
            ["{}", "a</think>{}"],
        ),
        (
            {"mode": Mode.THINKING},
            ["a</think>\n\nHola", "</think>\n\n", "a</think>\n\n" + ONE],
            ["a", "a" + ONE, "<function=now></function></think>\n\nx"],
        ),
        (
            {"mode": Mode.THINKING, "tool_choice": ToolChoice("required")},
            ["a</think>\n\n" + ONE],
            ["a</think>\n\nHola" + ONE],
        ),
    ],
)
def test_choices(asked: dict[str, Any], allowed: list[str], refused: list[str]) -> None:
    assert [text for text in allowed if not accepts(text, **asked)] == []
    assert [text for text in refused if accepts(text, **asked)] == []


VALUES: list[tuple[Any, list[str], list[str]]] = [
    ({"type": "string", "maxLength": 3}, ["", "abc", "ñ\n😀"], ["abcd"]),
    ({"type": "string", "pattern": "^[a-z]+$", "minLength": 2}, ["ab"], ["a", "AB"]),
    ({"type": "string", "format": "date"}, ["2024-02-29"], ["2023-02-29", '"2024-02-29"']),
    ({"const": "a b"}, ["a b"], ["a", '"a b"']),
    (
        {"anyOf": [{"const": "x"}, {"type": "string", "maxLength": 1, "pattern": "[0-9]"}]},
        ["x", "7"],
        ["y", "77"],
    ),
    ({"allOf": [{"$ref": "#/$defs/s"}, {"minLength": 2}]}, ["ab"], ["a", "abc"]),
    ({"$ref": "#/$defs/s"}, ["a"], ["abc"]),
    ({"type": ["string", "null"]}, ["null", "free", '{"a'], []),
    ({}, ["anything", "1", '{"a": 1}'], []),
    ({"anyOf": [{"enum": ["x", 1]}, {"type": "null"}]}, ["x", "1", "null"], ["y", '"x"']),
    ({"anyOf": [{"type": "string", "maxLength": 1}, {"type": "integer"}]}, ["x", "12"], ['"x"', "xy", "1.5"]),
    (
        {"oneOf": [{"type": "string", "enum": ["light", "dark"]}, {"type": "null"}]},
        ["dark", "null"],
        ['"dark"', "da", "none"],
    ),
    (
        {
            "anyOf": [
                {"const": "auto"},
                {"type": "integer", "minimum": 1, "maximum": 40},
                {"enum": [50, "1a"]},
            ]
        },
        ["auto", "1", "40", "50", "1a"],
        ["41", '"auto"', "1b", "0", "auto1"],
    ),
    (
        {
            "anyOf": [
                {"type": "string", "minLength": 3},
                {"type": "number", "maximum": 2},
                {"type": "boolean"},
            ]
        },
        ["abc", "1.5", "-12", "true", "123"],
        ["ab", "3", "no", "2\nx"],
    ),
    (
        {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
        ["x", '["a", "b"]', "[]", "[1]", "[note] {x}", '{"a": 1}', '"x"', "null"],
        ['["a","b"]', '["a", 1]', '["a'],
    ),
    (
        {"anyOf": [{"$ref": "#/$defs/s"}, {"type": "object", "properties": {"k": {"type": "null"}}}]},
        ["ab", '{"k": null}', "{", "{}"],
        ["abc", '{"k": 1}', '{"'],
    ),
    ({"enum": ["a", "long", 7], "maxLength": 2, "maximum": 3}, ["a"], ["long", "7"]),
    ({"allOf": [{"type": ["string", "null"]}, {"enum": ["a", None, 3]}]}, ["a", "null"], ["3", "b"]),
    (
        {"type": "object", "properties": {"s": {"$ref": "#/$defs/s"}}},
        ['{"s": "ab"}', "{}"],
        ['{"s": "abc"}', "x"],
    ),
    ({"type": "boolean"}, ["true"], ["True", '"true"']),
]


@pytest.mark.parametrize(("schema", "valid", "invalid"), VALUES)
def test_values_of_xml_parameters(schema: Any, valid: list[str], invalid: list[str]) -> None:
    parameters = {"properties": {"p": schema}, "$defs": {"s": {"type": "string", "maxLength": 2}}}
    tools = (Tool("f", {"type": "object", **parameters}, {}),)
    assert [v for v in valid if not accepts(xml("f", p=v), tools=tools)] == []
    assert [v for v in invalid if accepts(xml("f", p=v), tools=tools)] == []


def test_parameters_of_all_parts_of_a_schema() -> None:
    base = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    schema = {
        "allOf": [{"$ref": "#/$defs/base"}, {"properties": {"b": {"type": "null"}}}],
        "$defs": {"base": base},
    }
    tools = (Tool("f", schema, {}, strict=True),)
    assert accepts(xml("f", a="1", b="null"), tools=tools)
    assert not accepts(xml("f", b="null"), tools=tools)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"anyOf": [{"required": ["a"]}, {"required": ["b"]}]}, "`anyOf`"),
        ({"oneOf": [{"required": ["a"]}, {"properties": {"a": False}}]}, "`oneOf`"),
        ({"properties": {"a>b": {}}}, "`properties`"),
        ({"type": "object", "enum": [{"a": 1}]}, "`enum`"),
    ],
)
def test_schemas_that_cannot_be_written_one_by_one(schema: Any, message: str) -> None:
    request = ChatRequest((), tools=(NOW, Tool("f", schema, {}, strict=True)))
    with pytest.raises(InvalidSchema, match=message) as refusal:
        build_grammar(request, XML, CONTROL)
    assert refusal.value.param == "tools[1].function.parameters"


def call(**parameters: str) -> str:
    return xml("f", **parameters)


INTEGER = {"type": "integer"}
RECORDS: list[tuple[Any, list[str], list[str]]] = [
    (
        {"additionalProperties": {"type": "string", "maxLength": 3}},
        [call(), call(any="abc"), call(b="x", a="y"), call(**{"with blanks": "x"})],
        [call(any="abcd"), call(**{"a>b": "x"}), call(**{" a": "x"}), call(**{"a ": "x"}), call(**{"": "x"})],
    ),
    ({"additionalProperties": {}, "minProperties": 1}, [call(a="x")], [call()]),
    ({"minProperties": 1}, [call(a="x")], [call()]),
    ({}, [call()], [call(a="x")]),
    (
        {"properties": {"n": {"type": "integer"}}, "additionalProperties": True},
        [call(n="1", other="x"), call(other="x"), call(nn="x"), call()],
        [call(other="x", n="1"), call(n="x")],
    ),
    ({"properties": {"n": {"type": "integer"}}}, [call(), call(n="1")], [call(other="x")]),
    (
        {"patternProperties": {"^n_": {"type": "integer"}}, "additionalProperties": False},
        [call(), call(n_1="7")],
        [call(n_1="x"), call(m="7")],
    ),
    (
        {"patternProperties": {"^n_": {"type": "integer"}}, "additionalProperties": {"type": "boolean"}},
        [call(n_1="7", m="true")],
        [call(n_1="true"), call(m="7")],
    ),
    (
        {"propertyNames": {"enum": ["a", "b"]}, "additionalProperties": INTEGER, "required": ["a"]},
        [call(a="1"), call(a="1", b="2")],
        [call(), call(a="1", c="2"), call(a="x")],
    ),
    (
        {"properties": {"a": {}, "b": {}, "c": {}}, "minProperties": 1},
        [call(a="1"), call(c="1"), call(a="1", c="2"), call(a="1", b="2", c="3")],
        [call(), call(d="1")],
    ),
    (
        {"properties": {"a": {}, "b": {}}, "minProperties": 1, "additionalProperties": {"type": "null"}},
        [call(b="1"), call(x="null"), call(a="1", x="null", y="null")],
        [call(), call(x="1")],
    ),
    (
        {"properties": {"a": {}}, "required": ["a"], "maxProperties": 2, "additionalProperties": True},
        [call(a="1"), call(a="1", x="1")],
        [call(a="1", x="1", y="1")],
    ),
    ({"enum": [{"a": 1}]}, [call(a="1")], []),
    (
        {"anyOf": [{"properties": {"a": False}}, {"minProperties": 1}], "not": {"const": {}}},
        [call(b="1")],
        [],
    ),
    (
        {"allOf": [{"additionalProperties": False, "properties": {"a": {}}}, {"properties": {"b": {}}}]},
        [call(a="1")],
        [call(b="1")],
    ),
    ({"required": ["a"], "additionalProperties": INTEGER}, [call(a="1", b="2")], [call(), call(a="x")]),
]


@pytest.mark.parametrize(("schema", "valid", "invalid"), RECORDS, ids=[str(case[0]) for case in RECORDS])
def test_parameters_that_no_name_announces(schema: Any, valid: list[str], invalid: list[str]) -> None:
    tools = (Tool("f", {"type": "object", **schema}, {}),)
    assert [text for text in valid if not accepts(text, tools=tools)] == []
    assert [text for text in invalid if accepts(text, tools=tools)] == []


def test_one_parameter_at_least_is_enforced_with_strict_too() -> None:
    tools = (Tool("f", {"properties": {"a": {}, "b": {}}, "minProperties": 1}, {}, strict=True),)
    assert accepts(call(b="1"), tools=tools)
    assert not accepts(call(), tools=tools)


NOTHING: list[Any] = [
    False,
    {"enum": []},
    {"type": "string", "minLength": 3, "maxLength": 2},
    {"type": "integer", "minimum": 3, "maximum": 2},
    {"allOf": [{"type": "string"}, {"type": "integer"}]},
    {"enum": ["abc"], "maxLength": 2},
    {"const": "a\n</parameter>\nb"},
    {"$ref": "#/$defs/none"},
]


@pytest.mark.parametrize("nothing", NOTHING, ids=str)
def test_a_parameter_that_nothing_fits_is_not_written(nothing: Any) -> None:
    parameters = {
        "properties": {"p": nothing, "q": {"type": "null"}},
        "$defs": {"none": {"not": {}, "enum": []}},
    }
    for required in ([], ["p"]):
        tools = (Tool("f", {**parameters, "required": required}, {}),)
        assert accepts(call(q="null"), tools=tools)
        assert not accepts("<tool_call>\n<function=f>\n<parameter=p>\n", tools=tools)
        assert not any(accepts(call(p=text), tools=tools) for text in ("", "a", "null", "3", "abc"))


@pytest.mark.parametrize("name", ["a>b", "<a", "a\nb", "", " a", "a\t"])
def test_a_parameter_whose_name_cannot_be_written_is_left_out(name: str) -> None:
    schema = {"properties": {name: {"type": "string"}, "q": {"type": "null"}}}
    for required in ([], [name]):
        assert accepts(call(q="null"), tools=(Tool("f", {**schema, "required": required}, {}),))
        with pytest.raises(InvalidSchema, match="`properties`"):
            accepts(call(), tools=(Tool("f", {**schema, "required": required}, {}, strict=True),))


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"properties": {"a": False}, "required": ["a"]}, "`required`"),
        ({"patternProperties": {"^a": {}}}, "`patternProperties`"),
    ],
)
def test_strict_refuses_what_is_left_out_without_it(schema: Any, message: str) -> None:
    with pytest.raises(InvalidSchema, match=f"at #: {message}"):
        accepts(call(), tools=(Tool("f", schema, {}, strict=True),))
    assert accepts(call(), tools=(Tool("f", schema, {}),))


def test_parameters_of_branches() -> None:
    cat = {
        "properties": {"kind": {"const": "cat"}, "lives": {"type": "integer"}},
        "required": ["kind", "lives"],
    }
    dog = {"properties": {"kind": {"const": "dog"}, "called": {"$ref": "#/$defs/name"}}, "required": ["kind"]}
    nested = {"allOf": [{"anyOf": [cat, {"$ref": "#/$defs/dog"}]}], "type": "object"}
    schema = {**nested, "$defs": {"dog": dog, "name": {"type": "string", "maxLength": 3}}}
    tools = (Tool("f", schema, {}),)
    assert accepts(xml("f", kind="cat", lives="9"), tools=tools)
    assert accepts(xml("f", kind="dog", called="Rex"), tools=tools)
    assert accepts(xml("f", kind="dog"), tools=tools)
    assert not accepts(xml("f", called="Rex"), tools=tools)  # both branches require a kind
    assert not accepts(xml("f", kind="cow"), tools=tools)
    assert not accepts(xml("f", kind="dog", called="Rexo"), tools=tools)
    assert not accepts(xml("f", kind="cat", lives="nine"), tools=tools)


def test_what_holds_in_any_case_stays_as_it_is() -> None:
    either = [{"properties": {"a": {"const": "x"}}}, {"required": ["a"]}]
    tools = (Tool("f", {"properties": {"a": {"type": "string", "maxLength": 1}}, "anyOf": either}, {}),)
    assert accepts(xml("f", a="y"), tools=tools)
    assert not accepts(xml("f", a="yy"), tools=tools)


def test_references_of_any_length_are_followed() -> None:
    chain: dict[str, Any] = {
        f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}, {"type": "null"}]} for i in range(500)
    }
    schema = {"properties": {"p": {"$ref": "#/$defs/d0"}}, "$defs": {**chain, "d500": {"type": "integer"}}}
    assert build_grammar(ChatRequest((), tools=(Tool("f", schema, {}),)), XML, CONTROL) is not None


def test_references_that_fan_out_are_followed_once() -> None:
    fan: Any = {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i - 1}"}] * 2} for i in range(1, 40)}
    fan["d0"] = {"properties": {"a": {"type": "null"}}}
    tools = (Tool("f", {"$ref": "#/$defs/d39", "$defs": fan}, {}),)
    assert accepts(xml("f", a="null"), tools=tools)


@pytest.mark.parametrize("choice", [ToolChoice("none"), ToolChoice("required", frozenset({"now"}))])
def test_schemas_of_tools_that_are_not_called_are_checked_too(choice: ToolChoice) -> None:
    tools = (NOW, Tool("f", {"properties": {"a": {"pattern": "["}}}, {}))
    with pytest.raises(InvalidSchema):
        build_grammar(ChatRequest((), tools=tools, tool_choice=choice), XML, CONTROL)


def test_markup_is_forced() -> None:
    grammar = build_grammar(
        ChatRequest((), tools=(WEATHER,), tool_choice=ToolChoice("required")), XML, CONTROL
    )
    assert grammar is not None
    matcher = LLMatcher(byte_tokenizer(CONTROL), LLMatcher.grammar_from_lark(grammar.lark), limits=LIMITS)
    assert matcher.consume_token(257)
    assert matcher.compute_ff_bytes() == b"\n<function=get_weather>\n<parameter=city>\n"


def test_all_tools_together_are_bounded() -> None:
    schema = {"type": "object", "description": "x" * 60_000}
    with pytest.raises(InvalidSchema) as refusal:
        build_grammar(ChatRequest((), tools=tuple(Tool(f"f{i}", schema, {}) for i in range(9))), XML, CONTROL)
    assert refusal.value.param == "tools"
