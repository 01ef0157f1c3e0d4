"""The OpenAPI document agrees with the code, and the service with the document."""

import json
from pathlib import Path
from typing import Any

import httpx2
import jsonschema_rs
import pytest
from starlette.routing import Route
from tests import openapi
from tests.conftest import Served

from tessera.wire.decode import REFUSED, WITHOUT_EFFECT
from tessera.wire.request import Request

FILE = Path(__file__).parents[2] / "docs" / "openapi.json"
DOCUMENT: dict[str, Any] = json.loads(FILE.read_text())
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
FIELDS: dict[str, Any] = SCHEMAS["ChatRequest"]["properties"]


def validator(name: str) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for({"$ref": f"#/components/schemas/{name}", **DOCUMENT})


def test_the_file_is_what_the_code_makes() -> None:
    assert FILE.read_text() == openapi.text(), "run: python -m tests.openapi > docs/openapi.json"


def test_every_route_is_in_it_and_no_other(served: Served) -> None:
    routes = {
        (route.path.replace(":path", ""), method.lower())
        for route in served.app.routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"  # of GET, as HTTP has it
    }
    methods = {"get", "post", "put", "delete", "patch"}
    assert routes == {
        (path, method) for path, found in DOCUMENT["paths"].items() for method in found if method in methods
    }


def test_every_field_is_in_it() -> None:
    assert set(FIELDS) == {*Request.__struct_fields__, *WITHOUT_EFFECT}
    assert all(name in SCHEMAS["ChatRequest"]["description"] for name in REFUSED)


@pytest.mark.parametrize(
    ("field", "bounds"),
    [
        ("n", {"minimum": 1, "maximum": 8}),
        ("temperature", {"minimum": 0, "maximum": 2}),
        ("top_p", {"minimum": 0, "maximum": 1}),
        ("top_logprobs", {"minimum": 0, "maximum": 20}),
        ("logit_bias", {"maxProperties": 300}),
        ("tools", {"maxItems": 128}),
        ("model", {"maxLength": 256}),
    ],
)
def test_bounds_are_in_it(field: str, bounds: dict[str, int]) -> None:
    (kind, _) = FIELDS[field]["anyOf"]
    assert {name: kind.get(name) for name in bounds} == bounds


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/chat/completions", {}, 400),
        ("/v1/chat/completions", {"messages": [], "model": "absent"}, 400),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}], "model": "absent"}, 404),
        ("/v1/nowhere", {}, 404),
    ],
)
def test_errors_are_what_it_says(served: Served, path: str, body: dict[str, Any], status: int) -> None:
    headers = {"Authorization": f"Bearer {served.key}"}
    with httpx2.Client(base_url=served.url, headers=headers, trust_env=False, timeout=60) as client:
        reply = client.post(path, json=body)
    assert reply.status_code == status
    assert str(status) in DOCUMENT["paths"]["/v1/chat/completions"]["post"]["responses"]
    validator("Error").validate(reply.json())
    assert not validator("Error").is_valid({"error": {**reply.json()["error"], "code": "of_nothing"}})


def test_every_reference_leads_somewhere() -> None:
    assert openapi.references(DOCUMENT) <= set(SCHEMAS)


@pytest.mark.parametrize(
    "fields",
    [{}, {"logprobs": True, "top_logprobs": 2}, {"n": 2, "stream_options": {"include_usage": True}}],
    ids=["plain", "logprobs", "usage"],
)
def test_chunks_and_replies_are_what_it_says(served: Served, fields: dict[str, Any]) -> None:
    asked = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3, **fields}
    headers = {"Authorization": f"Bearer {served.key}"}
    with httpx2.Client(base_url=served.url, headers=headers, trust_env=False, timeout=60) as client:
        lines = client.post("/v1/chat/completions", json={**asked, "stream": True}).text.split("\n\n")
        asked.pop("stream_options", None)
        reply = client.post("/v1/chat/completions", json=asked).json()
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    assert len(chunks) > 3
    for chunk in chunks:
        validator("ChatCompletionChunk").validate(chunk)
    validator("ChatCompletion").validate(reply)
    assert not validator("ChatCompletion").is_valid({**reply, "choices": None})
