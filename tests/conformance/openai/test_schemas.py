"""Replies, chunks and errors are those that OpenAI publishes: our OpenAPI document says nothing that the
models of the official client do not allow, and what is really sent agrees with both.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import jsonschema_rs
import pytest
from openai.types import ErrorObject, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel
from tests.conftest import Served
from tests.scripts import CAN_ALL, called

from tessera.engine.scripted.engine import failing, saying
from tessera.errors import GenerationFailed

Schema = dict[str, Any]

DOCUMENT: Schema = json.loads((Path(__file__).parents[3] / "docs" / "openapi.json").read_text())
OURS: Schema = DOCUMENT["components"]["schemas"]
KINDS: dict[str, type[BaseModel]] = {
    "ChatCompletion": ChatCompletion,
    "ChatCompletionChunk": ChatCompletionChunk,
    "Card": Model,
}
every_kind = pytest.mark.parametrize("name", KINDS)

MORE = {"reasoning", "reasoning_content", "root", "context_length", "max_model_len", "modes", "features"}
"""Fields of ours: the client passes on what its models do not know."""

ALSO_REQUIRED = {
    "ChatCompletionMessage": {"role", "content", "refusal"},
    "Choice": {"finish_reason", "index", "logprobs"},
    "ChoiceLogprobs": {"content", "refusal"},
    "ChatCompletion": {"id", "choices", "created", "model", "object", "usage", "system_fingerprint"},
    "ChatCompletionChunk": {"id", "choices", "created", "model", "object", "system_fingerprint"},
}
"""By the titles of the client's models: what OpenAI's OpenAPI document requires, or its service always sends,
where the models of the client are laxer.
"""


@dataclass
class Comparison:
    """Finds what our schemas allow and OpenAI's do not."""

    theirs: Schema
    compared: set[str] = field(default_factory=set)

    def differences(self, ours: Schema, theirs: Schema, at: str) -> list[str]:
        return [line for kind in self._kinds(ours, DOCUMENT) for line in self._best(kind, theirs, at)]

    def _best(self, ours: Schema, theirs: Schema, at: str) -> list[str]:
        """The faults of `ours` compared with the nearest alternative of `theirs`."""
        return min(
            ([*self._unlike(ours, kind, at)] for kind in self._kinds(theirs, self.theirs)),
            key=lambda lines: (any("is no" in line for line in lines), len(lines)),
        )

    def _unlike(self, ours: Schema, theirs: Schema, at: str) -> Iterator[str]:
        allowed = theirs.get("enum", [theirs["const"]] if "const" in theirs else None)
        written = ours.get("enum", [ours["const"]] if "const" in ours else None)
        if allowed is not None:
            if written is None or not {*written} <= {*allowed, None}:
                yield f"{at}: {written or ours} is no {allowed}"
            return
        if ours.get("type", "string") != theirs["type"] and (ours.get("type"), theirs["type"]) != (
            "integer",
            "number",
        ):
            yield f"{at}: {ours.get('type')} is no {theirs['type']}"
        elif theirs["type"] == "array":
            yield from self.differences(ours["items"], theirs["items"], f"{at}[]")
        elif theirs["type"] == "object":
            yield from self._members(ours, theirs, at)

    def _members(self, ours: Schema, theirs: Schema, at: str) -> Iterator[str]:
        self.compared.add(theirs["title"])
        required = {*theirs.get("required", ()), *self._also_required(theirs)}
        yield from (f"{at}.{name}: is not always sent" for name in required - {*ours.get("required", ())})
        for name, each in ours["properties"].items():
            if name in theirs["properties"]:
                yield from self.differences(each, theirs["properties"][name], f"{at}.{name}")
            elif name not in MORE:
                yield f"{at}.{name}: is not OpenAI's"

    def _also_required(self, theirs: Schema) -> set[str]:
        return ALSO_REQUIRED.get(theirs["title"], set()) & {*theirs["properties"]} - (
            {"logprobs"} if "delta" in theirs["properties"] else set()
        )

    def _kinds(self, schema: Schema, document: Schema) -> Iterator[Schema]:
        """The alternatives that a schema allows, each of one type."""
        if pointer := schema.get("$ref"):
            found = document
            for step in pointer.removeprefix("#/").split("/"):
                found = found[step]
            yield from self._kinds(found, document)
        elif "anyOf" in schema:
            for each in schema["anyOf"]:
                yield from self._kinds(each, document)
        elif isinstance(schema.get("type"), list):
            for name in schema["type"]:
                yield {**schema, "type": name}
        else:
            yield schema


def comparison(name: str) -> tuple[Comparison, list[str]]:
    theirs = KINDS[name].model_json_schema(mode="serialization")
    compared = Comparison(theirs)
    return compared, compared.differences(OURS[name], theirs, name)


@every_kind
def test_the_document_says_what_the_official_client_reads(name: str) -> None:
    compared, differences = comparison(name)
    assert differences == []
    expected = {
        "ChatCompletion": {"ChatCompletion", "Choice", "ChatCompletionMessage", "CompletionUsage"},
        "ChatCompletionChunk": {
            "ChatCompletionChunk",
            "ChoiceDelta",
            "ChoiceDeltaToolCall",
            "ChoiceLogprobs",
        },
        "Card": {"Model"},
    }
    assert expected[name] <= compared.compared


@pytest.mark.parametrize(
    ("schema", "change", "said"),
    [
        ("ChatCompletion", {"id": {"type": "integer"}}, "ChatCompletion.id: integer is no string"),
        ("Message", {"refusal": {"type": "string"}, "colour": {}}, "message.colour: is not OpenAI's"),
        (
            "MessageChoice",
            {"finish_reason": {"enum": ["stop", "end"]}},
            "finish_reason: ['stop', 'end'] is no",
        ),
        ("TokenScore", {"bytes": {"type": "string"}}, "bytes: string is no"),
        ("UsageCounts", {"prompt_tokens": {"type": "number"}}, "prompt_tokens: number is no integer"),
    ],
)
def test_the_comparison_sees_what_differs(
    schema: str, change: Schema, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(OURS[schema], "properties", {**OURS[schema]["properties"], **change})
    assert any(said in line for line in comparison("ChatCompletion")[1])


def test_the_comparison_sees_what_is_not_always_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OURS["Message"], "required", ["role", "content"])
    assert comparison("ChatCompletion")[1] == ["ChatCompletion.choices[].message.refusal: is not always sent"]


TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
THINKING = {"chat_template_kwargs": {"enable_thinking": True}}


@dataclass(frozen=True)
class Case:
    """A reply of one kind: what the model writes, and what was requested."""

    id: str
    says: str = "Fine, thank you."
    asked: Schema = field(default_factory=dict[str, Any])


CASES = [
    Case("text"),
    Case("nothing", ""),
    Case("length", asked={"max_tokens": 3}),
    Case("logprobs", asked={"logprobs": True, "top_logprobs": 3}),
    Case("choices", asked={"n": 3, "logprobs": True}),
    Case("call", called("look", at=1.5), {"tools": TOOLS}),
    Case("calls", f"Wait.\n{called('look')}\n{called('look', at=2)}", {"tools": TOOLS, "logprobs": True}),
    Case("cut call", called("look", at="x" * 50), {"tools": TOOLS, "max_tokens": 60}),
    Case("reasoning", "Hm.\n</think>\n\nFine.", THINKING),
    Case("reasoning alone", "Hm, hm, hm", {**THINKING, "max_tokens": 4}),
    Case("json", '{"a": 1}', {"response_format": {"type": "json_object"}}),
]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)


def validate(name: str, value: Any) -> None:
    """Validates the value by our document and by the client's model, which must not change what it reads."""
    jsonschema_rs.validator_for({"$ref": f"#/components/schemas/{name}", **DOCUMENT}).validate(value)
    read = KINDS[name].model_validate(value, strict=True)
    assert json.loads(read.model_dump_json(exclude_unset=True)) == value
    assert {*unknown(read)} <= MORE


def unknown(read: object) -> Iterator[str]:
    """The fields that the client's models do not know, at any depth."""
    if isinstance(read, BaseModel):
        yield from read.model_extra or ()
        for each in read.__dict__.values():
            yield from unknown(each)
    elif isinstance(read, list):
        for each in read:
            yield from unknown(each)


@pytest.fixture
def served(serve: Callable[..., Any]) -> Any:
    return serve(features=CAN_ALL)


@pytest.fixture
def http(served: Served) -> Iterator[httpx2.Client]:
    headers = {"Authorization": f"Bearer {served.key}"}
    with httpx2.Client(base_url=served.url, headers=headers, trust_env=False, timeout=60) as client:
        yield client


def body_of(case: Case) -> Schema:
    return {"messages": [{"role": "user", "content": "How are you?"}], **case.asked}


@every_case
def test_whole_replies_are_openais(case: Case, served: Served, http: httpx2.Client) -> None:
    served.engine.script = saying(served.tokenizer, case.says)
    response = http.post("/v1/chat/completions", json=body_of(case))
    assert response.status_code == 200
    validate("ChatCompletion", response.json())


@every_case
@pytest.mark.parametrize("usage", [False, True], ids=["", "usage"])
def test_chunks_are_openais(case: Case, usage: bool, served: Served, http: httpx2.Client) -> None:
    served.engine.script = saying(served.tokenizer, case.says)
    options = {"stream_options": {"include_usage": True}} if usage else {}
    response = http.post("/v1/chat/completions", json={**body_of(case), "stream": True, **options})
    chunks = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: {")]
    assert chunks
    for chunk in chunks:
        validate("ChatCompletionChunk", chunk)
        assert ("usage" in chunk) is usage


def test_model_cards_are_openais(http: httpx2.Client) -> None:
    for card in http.get("/v1/models").json()["data"]:
        validate("Card", card)


def check_error(envelope: Any) -> None:
    jsonschema_rs.validator_for({"$ref": "#/components/schemas/Error", **DOCUMENT}).validate(envelope)
    assert [*envelope] == ["error"]
    assert not ErrorObject.model_validate(envelope["error"], strict=True).model_extra


def test_errors_are_openais(served: Served, http: httpx2.Client) -> None:
    user = [{"role": "user", "content": "x" * 200_000}]
    for path, sent, status in (
        ("/v1/chat/completions", {}, 400),
        ("/v1/chat/completions", {"messages": user, "model": "none"}, 404),
        ("/v1/chat/completions", {"messages": user}, 413),
        ("/v1/none", {}, 404),
        ("/v1/models", {}, 405),
    ):
        response = http.post(path, json=sent)
        assert response.status_code == status
        check_error(response.json())
    response = http.get("/v1/models", headers={"Authorization": "Bearer nobodys-key"})
    assert response.status_code == 401
    check_error(response.json())


def test_an_error_in_a_stream_is_openais(served: Served, http: httpx2.Client) -> None:
    served.engine.script = failing(
        saying(served.tokenizer, "a b c d"), GenerationFailed("It broke."), after=3
    )
    lines = http.post("/v1/chat/completions", json={**body_of(CASES[0]), "stream": True}).text.split("\n\n")
    (error,) = [json.loads(line[6:]) for line in lines if line.startswith('data: {"error"')]
    check_error(error)
