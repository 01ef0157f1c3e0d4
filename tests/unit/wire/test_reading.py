"""What is refused of a body's shape before the interpreter is kept busy by it."""

from typing import Any

import msgspec
import pytest

from tessera.errors import RequestError
from tessera.wire.decode import decode_request
from tessera.wire.reading import MAX_CONTAINERS, MAX_DEPTH, check_depth, check_size

MANY = [b"[],", b"{},", b'{"a":[]},', b"[" * 50 + b"]" * 50 + b",", b'["\\"]",{}],']


def body(field: str, items: bytes) -> bytes:
    start = {
        "tools": b'"tools":[{"type":"function","function":{"name":"f","parameters":{"x":[',
        "response_format": b'"response_format":{"type":"json_schema","schema":{"x":[',
        "messages": b'"messages":[{"role":"user","content":[',
    }[field]
    closing = {"tools": b"]}}}]", "response_format": b"]}}", "messages": b"]}]"}[field]
    others = b'{"messages":[{"role":"user","content":"x"}],' if field != "messages" else b"{"
    return others + start + items.rstrip(b",") + closing + b"}"


@pytest.mark.parametrize("unit", MANY)
@pytest.mark.parametrize("field", ["tools", "response_format", "messages"])
def test_more_objects_and_arrays_than_any_request_needs_are_refused_undecoded(
    field: str, unit: bytes
) -> None:
    sent = body(field, unit * (8 * 2**20 // len(unit) - 100))
    with pytest.raises(RequestError, match="objects and arrays") as refusal:
        decode_request(sent)
    assert refusal.value.param == field


def test_brackets_in_text_do_not_count() -> None:
    text = '[{"' * MAX_CONTAINERS
    sent = msgspec.json.encode({"messages": [{"role": "user", "content": text}]})
    request, _ = decode_request(sent)
    assert request.messages[0].text == text


def test_the_bound_is_exact() -> None:
    check_size(b"[" * MAX_CONTAINERS, "x")
    with pytest.raises(RequestError):
        check_size(b"[" * (MAX_CONTAINERS + 1), "x")


@pytest.mark.parametrize("unit", [lambda inner: [0, inner], lambda inner: {"a": 0, "b": inner}])
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
