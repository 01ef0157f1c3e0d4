"""The OpenAPI document agrees with the code, and the service with the document."""

import json
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import httpx2
import jsonschema_rs
import pytest
from starlette.routing import Route
from tests import openapi
from tests.conftest import Served
from tests.openapi_admin import operator_routes
from tests.openapi_examples import CHUNKS
from tests.openapi_fields import FIELDS as FIELD_DESCRIPTIONS

from tessera.http.web.reference import read_reference
from tessera.store.database import open_database
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


def test_the_reference_has_every_description_in_spanish() -> None:
    path = FILE.parent / "es" / "reference.json"
    translations: dict[str, str] = json.loads(path.read_text())
    html = read_reference(FILE.read_text(), "es", translations).html
    assert re.findall(r'<span lang="en">.*?</span>', html) == [], f"translate them in {path.name}"
    shown = re.sub(r"</?code>", "`", unescape(html))
    assert [english for english, spanish in translations.items() if spanish not in shown] == []


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The path, method and description of each operation."""
    for path, found in DOCUMENT["paths"].items():
        for method in found.keys() & {"get", "post", "put", "delete", "patch"}:
            yield path, method, found[method]


def test_every_route_is_in_it_and_no_other(served: Served, tmp_path: Path) -> None:
    store = open_database(f"sqlite:///{tmp_path / 'tessera.db'}")
    try:
        of_operators = operator_routes(store)
    finally:
        store.dispose()
    routes = {
        (unnamed(route.path), method.lower())
        for route in (*served.app.routes, *of_operators)
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"  # of GET, as HTTP has it
    }
    assert routes == {(unnamed(path), method) for path, method, _ in operations()}


def unnamed(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", path)


def test_every_operation_has_a_tag_that_is_explained() -> None:
    explained = [tag["name"] for tag in DOCUMENT["tags"]]
    used = [tag for _, _, operation in operations() for tag in operation["tags"]]
    assert sorted(set(used)) == sorted(explained)
    assert len(used) == len(list(operations()))


def test_every_field_parameter_and_header_is_described() -> None:
    assert {
        f"{name}.{field}"
        for name, schema in SCHEMAS.items()
        for field, kind in schema.get("properties", {}).items()
        if not kind.get("description", "").endswith(".")
    } == set()
    assert {name: {*SCHEMAS[name].get("properties", {})} for name in FIELD_DESCRIPTIONS} == {
        name: {*fields} for name, fields in FIELD_DESCRIPTIONS.items()
    }
    for path, method, operation in operations():
        answers = operation["responses"].values()
        parts = [
            *operation.get("parameters", ()),
            *(header for answer in answers for header in answer.get("headers", {}).values()),
            *answers,
        ]
        assert all(part["description"] for part in parts), (path, method)


def test_every_example_is_valid_and_every_answer_has_one() -> None:
    for path, method, operation in operations():
        (good,) = [answer for status, answer in operation["responses"].items() if status < "300"]
        contents = [good["content"], operation.get("requestBody", {}).get("content", {})]
        for media in [media for content in contents for media in content.values()]:
            shown = [media["example"]] if "example" in media else media["examples"].values()
            values = [each["value"] if "example" not in media else each for each in shown]
            assert values, (path, method)
            if "schema" not in media:
                continue  # a stream: see the chunks below
            checked = jsonschema_rs.validator_for({**media["schema"], **DOCUMENT})
            for value in values:
                checked.validate(value)
        for parameter in operation.get("parameters", ()):
            if "example" in parameter:
                jsonschema_rs.validator_for(parameter["schema"]).validate(parameter["example"])
    for chunk in CHUNKS:
        validator("ChatCompletionChunk").validate(chunk)


def test_it_works_wherever_the_server_is_and_says_nothing_in_vain() -> None:
    assert [server["url"] for server in DOCUMENT["servers"]] == ["/"]
    assert '"default": null' not in FILE.read_text()


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
