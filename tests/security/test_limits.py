"""Every limit of a request, one inside and one outside: what costs memory or time per request is bounded."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from tests.conformance.http.conftest import Connect
from tests.conftest import Serve, Served
from tests.limits import http_limits

from tessera.access.keys import well_formed
from tessera.core.chat import ChatRequest, JsonSchema, UserMessage
from tessera.errors import RequestError, TesseraError
from tessera.formats.hermes import HERMES
from tessera.grammars.turn import build_grammar
from tessera.schemas import bounds, patterns
from tessera.server.http1.framing import MAX_HEADERS
from tessera.wire.decode import decode_request
from tessera.wire.reading import MAX_DEPTH

USER = {"role": "user", "content": "Hi"}
INT64 = 2**63


def function(name: str = "f", **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **more}}


def functions(n: int) -> list[dict[str, Any]]:
    return [function(f"f{i}") for i in range(n)]


def deep(n: int) -> dict[str, Any]:
    """`n` objects, each within the other."""
    value: dict[str, Any] = {}
    for _ in range(n - 1):
        value = {"a": value}
    return value


def allowed(n: int) -> dict[str, Any]:
    return {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": functions(n)}}


@dataclass(frozen=True)
class Limit:
    """A limit: `most` is accepted and `over` is not. `param` names the field in the refusal."""

    param: str
    most: dict[str, Any]
    over: dict[str, Any]


def numbers(field: str, low: float, below: float, high: float, above: float, **with_: Any) -> list[Limit]:
    return [Limit(field, {field: a, **with_}, {field: b, **with_}) for a, b in ((low, below), (high, above))]


TINY = 1e-9
LIMITS = [
    *numbers("n", 1, 0, 8, 9),
    *numbers("temperature", 0, -TINY, 2, 2 + TINY),
    *numbers("top_p", 0, -TINY, 1, 1 + TINY),
    *numbers("min_p", 0, -TINY, 1, 1 + TINY),
    *numbers("top_k", -1, -2, INT64 - 1, INT64),
    *numbers("presence_penalty", -2, -2 - TINY, 2, 2 + TINY),
    *numbers("frequency_penalty", -2, -2 - TINY, 2, 2 + TINY),
    *numbers("repetition_penalty", 0.01, 0.01 - TINY, 2, 2 + TINY),
    *numbers("seed", -INT64, -INT64 - 1, INT64 - 1, INT64),
    *numbers("max_tokens", 1, 0, INT64 - 1, INT64),
    *numbers("max_completion_tokens", 1, 0, INT64 - 1, INT64),
    *numbers("thinking_token_budget", -1, -2, INT64 - 1, INT64),
    *numbers("top_logprobs", 0, -1, 20, 21, logprobs=True),
    Limit("logit_bias", {"logit_bias": {"1": 100}}, {"logit_bias": {"1": 100.5}}),
    Limit("logit_bias", {"logit_bias": {"1": -100}}, {"logit_bias": {"1": -100.5}}),
    Limit("logit_bias", {"logit_bias": {"0": 1}}, {"logit_bias": {"-1": 1}}),
    Limit("logit_bias", {"logit_bias": {str(2**31 - 1): 1}}, {"logit_bias": {str(2**31): 1}}),
    Limit(
        "logit_bias",
        {"logit_bias": {str(i): 1 for i in range(300)}},
        {"logit_bias": {str(i): 1 for i in range(301)}},
    ),
    Limit("stop", {"stop": ["x"] * 4}, {"stop": ["x"] * 5}),
    Limit("stop", {"stop": "x" * 256}, {"stop": "x" * 257}),
    Limit("stop", {"stop": ["x" * 256]}, {"stop": ["x" * 257]}),
    Limit("messages", {"messages": [USER]}, {"messages": []}),
    Limit("messages", {"messages": [USER] * 2048}, {"messages": [USER] * 2049}),
    Limit(
        "tools",
        {"tools": [function(parameters={"default": deep(MAX_DEPTH - 2)})]},
        {"tools": [function(parameters={"default": deep(MAX_DEPTH - 1)})]},
    ),
    Limit("model", {"model": "m" * 256}, {"model": "m" * 257}),
    Limit("tools", {"tools": functions(128)}, {"tools": functions(129)}),
    Limit("tools", {"tools": [function("f" * 64)]}, {"tools": [function("f" * 65)]}),
    Limit("tools", {"tools": [function("f")]}, {"tools": [function("")]}),
    Limit(
        "tool_choice",
        {"tools": functions(128), "tool_choice": allowed(128)},
        {"tools": functions(128), "tool_choice": allowed(129)},
    ),
]


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: f"{limit.param}-{len(str(limit.most))}")
def test_oversized_fields_each_limit_holds_to_the_last_one(limit: Limit) -> None:
    decode_request(json.dumps({"messages": [USER], **limit.most}).encode())
    with pytest.raises(RequestError) as caught:
        decode_request(json.dumps({"messages": [USER], **limit.over}).encode())
    assert caught.value.status == 400
    assert (caught.value.param or "").startswith(limit.param)


def nested(n: int) -> dict[str, Any]:
    """A schema of `n` levels of JSON."""
    schema: dict[str, Any] = {}
    for _ in range(n):
        schema = {"items": schema}
    return schema


def described(n_bytes: int) -> dict[str, Any]:
    empty = len(json.dumps({"description": ""}))
    return {"description": "x" * (n_bytes - empty)}


SCHEMAS: dict[str, tuple[int, Callable[[int], dict[str, Any]]]] = {
    "bytes": (bounds.MAX_BYTES, described),
    "levels": (bounds.MAX_NESTING, nested),
    "properties": (bounds.MAX_PROPERTIES, lambda n: {"properties": {f"p{i}": {} for i in range(n)}}),
    "enum": (bounds.MAX_ENUM_VALUES, lambda n: {"enum": list(range(n))}),
    "pattern": (patterns.MAX_CHARACTERS, lambda n: {"type": "string", "pattern": "a" * n}),
    "minLength": (bounds.MAX_VALUES["minLength"], lambda n: {"type": "string", "minLength": n}),
    "maxLength": (bounds.MAX_VALUES["maxLength"], lambda n: {"type": "string", "maxLength": n}),
    "minItems": (bounds.MAX_VALUES["minItems"], lambda n: {"type": "array", "minItems": n}),
    "maxItems": (bounds.MAX_VALUES["maxItems"], lambda n: {"type": "array", "maxItems": n}),
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_oversized_schemas_each_bound_holds_to_the_last_one(name: str) -> None:
    most, schema = SCHEMAS[name]

    def build(n: int) -> None:
        asked = ChatRequest((UserMessage("x"),), answer_format=JsonSchema("s", schema(n), strict=True))
        build_grammar(asked, HERMES.syntax, {})

    build(most)
    with pytest.raises(TesseraError) as caught:
        build(most + 1)
    assert caught.value.code == "invalid_schema"


@pytest.mark.parametrize(("n", "good"), [(7, False), (8, True), (256, True), (257, False)])
def test_CVE_2026_42208_keys_have_a_length(n: int, good: bool) -> None:
    assert well_formed("k" * n) is good


def ask(n_prompt: int) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "x" * n_prompt}], "max_tokens": 1}


def test_oversized_prompts_the_context_holds_to_the_last_token(serve: Serve, connect: Connect) -> None:
    raw = connect(serve(context_tokens=500))
    raw.ask(**ask(10))
    spent = json.loads(raw.read_response()[2])["usage"]["prompt_tokens"] - 10
    for n, status in ((499 - spent, 200), (500 - spent, 413), (10**6, 413)):
        raw.ask(**ask(n))
        got, _, body = raw.read_response()
        assert got == status, (n, body[:300])


def test_oversized_bodies_the_cap_holds_to_the_last_byte(serve: Serve, connect: Connect) -> None:
    raw = connect(serve(http_limits(max_body_bytes=400)))
    empty = len(json.dumps({**ask(1), "user": ""}))
    for n, status in ((400, 200), (401, 413)):
        body = json.dumps({**ask(1), "user": "u" * (n - empty)}).encode()
        assert len(body) == n
        raw.send(
            "POST /v1/chat/completions", body, Content_Type="application/json", Content_Length=str(len(body))
        )
        assert raw.read_response()[0] == status


@pytest.mark.parametrize(("over", "good"), [(0, True), (1, False)])
def test_CVE_2025_48956_the_number_of_headers_holds_to_the_last_one(
    served: Served, connect: Connect, over: int, good: bool
) -> None:
    raw = connect(served)
    headers: dict[str, Any] = {f"X_{i}": "y" for i in range(MAX_HEADERS - 2 + over)}
    raw.send("GET /healthz", **headers)
    head = raw.read_until(b"\r\n\r\n") if good else raw.read_to_the_end()
    assert head.startswith(b"HTTP/1.1 200" if good else b"HTTP/1.1 400")


@pytest.mark.parametrize(("n", "kept"), [(128, True), (129, False)])
def test_log_injection_a_request_id_has_a_length(
    served: Served, connect: Connect, n: int, kept: bool
) -> None:
    raw = connect(served)
    raw.send("GET /healthz", X_Request_Id="i" * n)
    assert (b"x-request-id: " + b"i" * n + b"\r\n" in raw.read_until(b"\r\n\r\n")) is kept
