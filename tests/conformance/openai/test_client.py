"""The official client against a real server: it is what most callers use."""

import random
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from tests.conftest import Serve, Served

from tessera.access.tiers import Tier
from tessera.engine.scripted.engine import cycling, failing, saying
from tessera.errors import EngineOverloaded, GenerationFailed
from tessera.formats.qwen3 import QWEN3

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]


def create(client: openai.OpenAI, **fields: Any) -> Any:
    return client.chat.completions.create(**{"model": "tessera/scripted", "messages": HELLO, **fields})


def streamed(client: openai.OpenAI, **fields: Any) -> list[ChatCompletionChunk]:
    return list(create(client, stream=True, **fields))


def text(chunks: list[ChatCompletionChunk], index: int = 0) -> str:
    choices = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
    return "".join(choice.delta.content or "" for choice in choices)


def test_a_whole_reply(served: Served, client: openai.OpenAI) -> None:
    served.engine.script = saying(served.tokenizer, "¡Hola! 👋")
    reply: ChatCompletion = create(client)
    assert reply.id.startswith("chatcmpl-")
    assert reply.object == "chat.completion"
    assert reply.model == "tessera/scripted"
    assert reply.system_fingerprint
    (choice,) = reply.choices
    assert (choice.index, choice.finish_reason, choice.message.role) == (0, "stop", "assistant")
    assert choice.message.content == "¡Hola! 👋"
    assert choice.message.tool_calls is None
    assert reply.usage is not None
    assert reply.usage.completion_tokens == len("¡Hola! 👋".encode()) + 1
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


def test_a_streamed_reply(served: Served, client: openai.OpenAI) -> None:
    served.engine.script = saying(served.tokenizer, "¡Hola! 👋")
    chunks = streamed(client, stream_options={"include_usage": True})
    assert text(chunks) == "¡Hola! 👋"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert len({chunk.id for chunk in chunks}) == 1
    whole = create(client)
    assert chunks[-1].usage == whole.usage


def test_the_clients_own_accumulator_reads_the_stream(served: Served, client: openai.OpenAI) -> None:
    served.engine.script = saying(served.tokenizer, "one two three")
    with client.chat.completions.stream(model="alias", messages=HELLO) as stream:
        reply = stream.get_final_completion()
    assert reply.choices[0].message.content == "one two three"
    assert reply.choices[0].finish_reason == "stop"


def test_the_token_limit_ends_with_length(client: openai.OpenAI) -> None:
    reply = create(client, max_completion_tokens=3)
    assert reply.choices[0].finish_reason == "length"
    assert reply.choices[0].message.content == "the little lamp "
    assert reply.usage.completion_tokens == 3


def test_several_choices(served: Served, client: openai.OpenAI) -> None:
    served.engine.script = lambda prompt, sequence: served.tokenizer.encode("abc"[sequence:])
    reply = create(client, n=3)
    assert [(choice.index, choice.message.content) for choice in reply.choices] == [
        (0, "abc"),
        (1, "bc"),
        (2, "c"),
    ]
    chunks = streamed(client, n=3)
    assert [text(chunks, index) for index in range(3)] == ["abc", "bc", "c"]


def test_stop_strings(served: Served, client: openai.OpenAI) -> None:
    served.engine.script = saying(served.tokenizer, "one END two")
    assert create(client, stop="END").choices[0].message.content == "one "
    assert text(streamed(client, stop=["xx", "END"])) == "one "


@pytest.mark.parametrize(("said", "stop"), [("", None), ("END of it", "END")])
def test_an_empty_reply_may_be_sent_back(
    said: str, stop: str | None, served: Served, client: openai.OpenAI
) -> None:
    served.engine.script = saying(served.tokenizer, said)
    (choice,) = create(client, stop=stop).choices
    assert (choice.message.content, choice.finish_reason) == (None, "stop")
    again = create(client, messages=[*HELLO, choice.message, *HELLO])
    assert again.choices[0].finish_reason == "stop"


def test_logprobs(served: Served, client: openai.OpenAI) -> None:
    served.engine.script = saying(served.tokenizer, "ab")
    (choice,) = create(client, logprobs=True, top_logprobs=2).choices
    assert [score.token for score in choice.logprobs.content] == ["a", "b"]
    assert [len(score.top_logprobs) for score in choice.logprobs.content] == [2, 2]
    assert choice.logprobs.content[0].bytes == [ord("a")]
    chunks = streamed(client, logprobs=True)
    scores = [
        score
        for chunk in chunks
        if chunk.choices[0].logprobs
        for score in chunk.choices[0].logprobs.content or ()
    ]
    assert [score.token for score in scores] == ["a", "b"]


@pytest.mark.anyio
async def test_the_async_client(served: Served) -> None:
    served.engine.script = saying(served.tokenizer, "async")
    async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key=served.key, max_retries=0) as client:
        reply = await client.chat.completions.create(model="alias", messages=HELLO)
        assert reply.choices[0].message.content == "async"
        stream = await client.chat.completions.create(model="alias", messages=HELLO, stream=True)
        assert text([chunk async for chunk in stream]) == "async"


def test_closing_a_stream_aborts_the_generation(served: Served, client: openai.OpenAI) -> None:
    stream = create(client, stream=True)
    next(stream)
    stream.close()
    served.wait_until_idle()


def test_models(client: openai.OpenAI) -> None:
    listed = {model.id: model for model in client.models.list()}
    assert set(listed) == {"tessera/scripted", "alias"}
    card: Any = client.models.retrieve("tessera/scripted")
    assert card == listed["tessera/scripted"]
    assert (card.object, card.owned_by, card.created, card.context_length) == ("model", "tessera", 1, 32_768)
    assert "direct" in card.modes
    alias: Any = client.models.retrieve("alias")
    assert alias.root == "tessera/scripted"


@pytest.mark.parametrize(
    ("fields", "error", "status", "param"),
    [
        ({"temperature": 3}, openai.BadRequestError, 400, "temperature"),
        ({"messages": []}, openai.BadRequestError, 400, "messages"),
        ({"extra_body": {"chat_template": "x"}}, openai.BadRequestError, 400, "chat_template"),
        ({"model": "nobody/nothing"}, openai.NotFoundError, 404, "model"),
        ({"messages": [{"role": "user", "content": "x" * 9_000_000}]}, openai.APIStatusError, 413, None),
        ({"messages": [{"role": "user", "content": "x" * 40_000}]}, openai.APIStatusError, 413, "messages"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_are_the_clients_classes(
    client: openai.OpenAI,
    fields: dict[str, Any],
    error: type[openai.APIStatusError],
    status: int,
    param: str | None,
    stream: bool,
) -> None:
    with pytest.raises(error) as caught:
        create(client, stream=stream, **fields)
    assert type(caught.value) is error
    assert (caught.value.status_code, caught.value.type, caught.value.param) == (
        status,
        "invalid_request_error",
        param,
    )
    assert caught.value.code
    assert caught.value.request_id is not None
    assert caught.value.request_id.startswith("req_")
    assert caught.value.response.headers["x-should-retry"] == "false"


def test_a_wrong_key(served: Served) -> None:
    with (
        openai.OpenAI(
            base_url=f"{served.url}/v1", api_key="sk-tessera-" + "w" * 36 + "1234", max_retries=0
        ) as client,
        pytest.raises(openai.AuthenticationError, match="Incorrect API key provided: sk-…1234") as caught,
    ):
        create(client)
    assert (caught.value.type, caught.value.code) == ("invalid_request_error", "invalid_api_key")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("raised", "status", "type_"),
    [
        (GenerationFailed("It broke."), 502, "api_error"),
        (EngineOverloaded("Full.", retry_after_s=3), 503, "overloaded_error"),
        (RuntimeError("secret canary"), 500, "api_error"),
    ],
)
def test_failure_before_the_first_token_has_its_status(
    served: Served, client: openai.OpenAI, raised: Exception, status: int, type_: str, stream: bool
) -> None:
    served.engine.script = failing(cycling(served.tokenizer), raised, after=0)
    with pytest.raises(openai.InternalServerError) as caught:
        create(client, stream=stream)
    assert (caught.value.status_code, caught.value.type) == (status, type_)
    assert "canary" not in caught.value.message
    assert "x-should-retry" not in caught.value.response.headers
    assert caught.value.response.headers.get("retry-after") == ("3" if status == 503 else None)
    served.wait_until_idle()


def test_failure_after_the_first_token_ends_the_stream_with_an_error(
    served: Served, client: openai.OpenAI
) -> None:
    served.engine.script = failing(cycling(served.tokenizer), GenerationFailed("It broke."), after=2)
    stream = create(client, stream=True)
    seen: list[ChatCompletionChunk] = []
    with pytest.raises(openai.APIError, match="It broke") as caught:
        seen.extend(stream)
    assert caught.value.code == "generation_failed"
    served.wait_until_idle()


def test_the_client_tries_again_when_it_may(served: Served) -> None:
    attempts: list[int] = []

    def script(prompt: Any, sequence: int) -> list[int]:
        attempts.append(1)
        if len(attempts) == 1:
            raise EngineOverloaded("Full.", retry_after_s=0)
        return served.tokenizer.encode("ok")

    served.engine.script = script
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key=served.key, max_retries=2) as client:
        assert create(client).choices[0].message.content == "ok"
    assert len(attempts) == 2


def test_fields_without_meaning_are_named_in_a_header(client: openai.OpenAI) -> None:
    extra = {"foo": 1, "reasoning_effort": "max", "bad name\r\nx: y": 1}
    raw = client.chat.completions.with_raw_response.create(
        model="alias", messages=HELLO, max_tokens=1, extra_body=extra
    )
    assert raw.headers["x-tessera-ignored-params"] == "foo, ?"


def test_a_stream_is_its_whole_reply_for_random_requests(served: Served, client: openai.OpenAI) -> None:
    chance = random.Random(5)
    alphabet = 'ab é👋\n<|im_end>"\\\u2028'
    for _ in range(40):
        spoken = "".join(chance.choices(alphabet, k=chance.randrange(0, 30)))
        served.engine.script = lambda prompt, i, spoken=spoken: served.tokenizer.encode(spoken[i:])
        served.engine.tokens_per_chunk = chance.choice([1, 2, 5])
        fields: dict[str, Any] = {
            "n": chance.choice([1, 2, 3]),
            "max_tokens": chance.choice([1, 5, 100]),
            "stop": chance.choice([[], "a", ["ab", "\n"], "<|im_e"]),
            "logprobs": chance.choice([True, False]),
        }
        whole: ChatCompletion = create(client, **fields)
        chunks = streamed(client, stream_options={"include_usage": True}, **fields)
        assert chunks.pop().usage == whole.usage
        for choice in whole.choices:
            parts = [part for chunk in chunks for part in chunk.choices if part.index == choice.index]
            assert text(chunks, choice.index) == (choice.message.content or "")
            assert [part.finish_reason for part in parts if part.finish_reason] == [choice.finish_reason]
            scores = [score for part in parts if part.logprobs for score in part.logprobs.content or ()]
            assert scores == ((choice.logprobs.content or []) if choice.logprobs else [])


def test_a_limit_is_an_error_with_headers(serve: Serve) -> None:
    served = serve(tier=Tier("tiny", 1, 1, 4096, None, 1, 1))
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key=served.key, max_retries=0) as client:
        raw = client.chat.completions.with_raw_response.create(model="tessera/scripted", messages=HELLO)
        assert raw.headers["x-ratelimit-limit-requests"] == "1"
        assert raw.headers["x-ratelimit-remaining-requests"] == "0"
        with pytest.raises(openai.RateLimitError) as caught:
            create(client)
    headers = caught.value.response.headers
    assert (caught.value.code, caught.value.type) == ("rate_limit_exceeded", "rate_limit_error")
    assert 1 <= int(headers["retry-after"]) <= 60
    assert int(headers["x-ratelimit-reset-requests"]) <= 60


def test_a_day_is_not_waited_for(serve: Serve) -> None:
    served = serve(tier=Tier("tiny", 100, 100, 4096, 0, 9, 1), chat_format=QWEN3)
    thinking = {"chat_template_kwargs": {"enable_thinking": True}}
    with (
        openai.OpenAI(base_url=f"{served.url}/v1", api_key=served.key, max_retries=5) as client,
        pytest.raises(openai.RateLimitError) as caught,
    ):
        create(client, extra_body=thinking)
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert caught.value.response.request.headers["x-stainless-retry-count"] == "0"
