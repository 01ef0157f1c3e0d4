"""What the official client meets on a cluster: one address for all models, on two engines."""

import json
from typing import Any

import httpx2
import openai
import pytest
from openai.types.chat import ChatCompletionChunk
from tests.ray.conftest import KEY, Cluster
from tests.serving import ask

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
CITIES = ["Lima", "Quito"]
CITY = {
    "type": "object",
    "properties": {"city": {"enum": CITIES}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER: list[Any] = [
    {"type": "function", "function": {"name": "weather", "strict": True, "parameters": CITY}},
]

pytestmark = pytest.mark.parametrize("model", ["mine", "embedded"])


def create(cluster: Cluster, model: str, **fields: Any) -> Any:
    return cluster.client().chat.completions.create(
        **{"model": model, "messages": HELLO, "max_completion_tokens": 7, "temperature": 0, **fields}
    )


def text(chunks: list[ChatCompletionChunk], index: int = 0) -> str:
    choices = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
    return "".join(choice.delta.content or "" for choice in choices)


def test_whole_and_streamed_replies_are_the_same(cluster: Cluster, model: str) -> None:
    whole = create(cluster, model)
    chunks = list(create(cluster, model, stream=True, stream_options={"include_usage": True}))
    (choice,) = whole.choices
    assert (choice.finish_reason, choice.message.role) == ("length", "assistant")
    assert text(chunks) == choice.message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens == 7
    assert {chunk.id[:9] for chunk in chunks} == {"chatcmpl-"}
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    assert whole.model == chunks[0].model


def test_the_clients_own_accumulator_reads_the_stream(cluster: Cluster, model: str) -> None:
    client = cluster.client()
    # It takes a reply that its length has cut for an error, so a stop string ends this one.
    words = create(cluster, model).choices[0].message.content
    asked: dict[str, Any] = {"max_completion_tokens": 7, "temperature": 0, "stop": words[len(words) // 2 :]}
    with client.chat.completions.stream(model=model, messages=HELLO, **asked) as stream:
        reply = stream.get_final_completion()
    assert reply.choices[0].message.content == words[: len(words) // 2]
    assert reply.choices[0].finish_reason == "stop"


def test_several_choices(cluster: Cluster, model: str) -> None:
    whole = create(cluster, model, n=2, seed=1, temperature=1)
    chunks = list(create(cluster, model, n=2, seed=1, temperature=1, stream=True))
    assert [text(chunks, index) for index in range(2)] == [each.message.content for each in whole.choices]


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_call(cluster: Cluster, model: str, stream: bool) -> None:
    asked: dict[str, Any] = {"tools": WEATHER, "tool_choice": "required", "max_completion_tokens": 200}
    if stream:
        chunks = list(create(cluster, model, stream=True, **asked))
        calls = [call for chunk in chunks for each in chunk.choices for call in each.delta.tool_calls or ()]
        name = calls[0].function.name
        arguments = "".join(call.function.arguments for call in calls if call.index == 0)
        assert chunks[-1].choices[0].finish_reason == "tool_calls"
    else:
        (choice,) = create(cluster, model, **asked).choices
        name, arguments = (
            choice.message.tool_calls[0].function.name,
            choice.message.tool_calls[0].function.arguments,
        )
        assert choice.finish_reason == "tool_calls"
    assert name == "weather"
    assert json.loads(arguments)["city"] in CITIES


def test_a_schema(cluster: Cluster, model: str) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "place", "strict": True, "schema": CITY}}
    reply = create(cluster, model, response_format=schema, max_completion_tokens=200)
    assert json.loads(reply.choices[0].message.content)["city"] in CITIES


def test_stop_strings_and_logprobs(cluster: Cluster, model: str) -> None:
    whole = create(cluster, model, logprobs=True)
    words = whole.choices[0].message.content
    assert "".join(score.token for score in whole.choices[0].logprobs.content) == words
    middle = words[len(words) // 2 :]
    assert create(cluster, model, stop=middle).choices[0].message.content == words[: len(words) // 2]


def test_errors_are_ours(cluster: Cluster, model: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        create(cluster, model, max_completion_tokens=0)
    assert refused.value.param == "max_completion_tokens"
    with pytest.raises(openai.AuthenticationError) as unknown:
        cluster.client("sk-tessera-" + "x" * 40).chat.completions.create(model=model, messages=HELLO)
    assert unknown.value.code == "invalid_api_key"


def test_an_answer_has_the_limits_of_the_account_and_one_request_id(cluster: Cluster, model: str) -> None:
    headers = {"X-Request-Id": "mine-1", "Authorization": f"Bearer {KEY}"}
    url = f"{cluster.url}/v1/chat/completions"
    reply = httpx2.post(url, json=ask(model=model), headers=headers, timeout=300)
    assert reply.status_code == 200
    assert reply.headers.get_list("x-request-id") == ["mine-1"]
    assert int(reply.headers["x-ratelimit-limit-requests"]) > 0
    refused = httpx2.post(url, json=ask(model=model), timeout=300)
    assert refused.json()["error"]["code"] == "missing_api_key"
