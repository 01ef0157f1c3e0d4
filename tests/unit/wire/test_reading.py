"""What is refused of a body's shape before the interpreter is kept busy by it."""

from typing import Any

import msgspec
import pytest

from tessera.errors import RequestError
from tessera.wire.decode import decode_request
from tessera.wire.reading import MAX_DEPTH, check_depth


def in_list(inner: Any) -> Any:
    return [0, inner]


def in_object(inner: Any) -> Any:
    return {"a": 0, "b": inner}


@pytest.mark.parametrize("unit", [in_list, in_object])
def test_depth_is_exact(unit: Any) -> None:
    value: Any = 0
    for _ in range(MAX_DEPTH):
        value = unit(value)
    check_depth(value, "x")
    with pytest.raises(RequestError, match="too deeply"):
        check_depth(unit(value), "x")


SCHEMA = {"type": "array"}


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ({"type": "json_schema", "json_schema": {"schema": SCHEMA}}, "response_format.json_schema.schema"),
        ({"type": "json_schema", "schema": SCHEMA}, "response_format.schema"),
        ({"type": "json_object", "schema": SCHEMA}, "response_format.schema"),
        ({"type": "json_object", "response_schema": SCHEMA}, "response_format.response_schema"),
    ],
)
def test_a_schema_is_named_where_it_was_sent(sent: Any, param: str) -> None:
    messages = [{"role": "user", "content": "x"}]
    request, _ = decode_request(msgspec.json.encode({"messages": messages, "response_format": sent}))
    assert request.answer_format.param == param  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("function", "param"),
    [
        ({"function": {"name": "f", "parameters": SCHEMA}}, "tools[0].function.parameters"),
        ({"name": "f", "parameters": SCHEMA}, "tools[0].parameters"),
    ],
)
def test_parameters_are_named_where_they_were_sent(function: Any, param: str) -> None:
    tools = [{"type": "function", **function}]
    messages = [{"role": "user", "content": "x"}]
    request, _ = decode_request(msgspec.json.encode({"messages": messages, "tools": tools}))
    assert request.tools[0].param == param
    twice = msgspec.json.encode({"messages": messages, "tools": tools * 2})
    with pytest.raises(RequestError, match="names must differ") as refusal:
        decode_request(twice)
    assert refusal.value.param == param.replace("[0]", "[1]").replace("parameters", "name")
