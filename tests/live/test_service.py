"""The whole service on the embedded model: the official SDK, whole against streamed, clients that vanish.

On vLLM also with a tiny Qwen3.6 of random weights, whose tokens depend on what else runs.
"""

import asyncio
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import openai
import pytest
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send
from tests.hosted import EXACT_STARTS, exact, private, tokenizer_of
from tests.limits import LIMITS
from tests.templates import choose_format

from tessera.access.keys import Keys
from tessera.catalog import Catalog, Model
from tessera.engine.host.frames import Start
from tessera.engine.host.private import PrivateEngine
from tessera.formats.qwen3 import QWEN3
from tessera.http.app import build_app
from tessera.http.service import Service
from tessera.models.source import ModelSource

pytestmark = pytest.mark.live

KEY = "sk-tessera-" + "v" * 40
ALIAS = "Qwen/Qwen3.6-35B-A3B"
WORDS = (
    "the",
    "sea",
    "a",
    "dragon",
    "code",
    "in",
    "Python",
    "why",
    "is",
    "how",
    "many",
    "please",
    "tell",
    "7",
)


QWEN = "vllm_qwen_start"


@dataclass(frozen=True)
class Live:
    """A service. Unless it `shares`, each prompt is computed from its beginning. One that is not `exact` has
    random weights, and gives the same tokens only while nothing else runs.
    """

    engine: PrivateEngine
    app: Starlette
    port: int
    shares: bool
    exact: bool

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"


@pytest.fixture(scope="module", params=[*EXACT_STARTS, pytest.param(QWEN, marks=pytest.mark.vllm)])
def live(
    request: pytest.FixtureRequest,
    model_folder: ModelSource,
    run_app: Callable[[ASGIApp], AbstractContextManager[int]],
) -> Iterator[Live]:
    """The service in its exact mode: the rest of a batch must not change a sequence."""
    config: Start = request.getfixturevalue(request.param)
    if request.param == QWEN:
        tokenizer, chat_format = tokenizer_of(request.getfixturevalue("vllm_qwen")), QWEN3
    else:
        tokenizer = tokenizer_of(model_folder)
        chat_format = choose_format(
            model_folder.chat_template,
            control_tokens=tokenizer.control_tokens.keys(),
            eos=model_folder.eos_token,
        )
    engine = private(exact(config, request.param, max_sequences=16))
    model = Model(engine.info.model_id, engine, tokenizer, chat_format, chat_format.sampling, created_s=1)
    app = build_app(
        Service(catalog=Catalog([model], {ALIAS: model.id}, model.id), keys=Keys([KEY]), limits=LIMITS)
    )

    async def starting(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await engine.start()
        await app(scope, receive, send)

    with run_app(starting) as port:
        shares, is_exact = request.param == "openvino_start", request.param != QWEN
        yield Live(engine, app, port, shares=shares, exact=is_exact)


@pytest.fixture(scope="module")
def client(live: Live) -> openai.OpenAI:
    return openai.OpenAI(api_key=KEY, base_url=live.base_url, max_retries=0)


def ask(text: str, **options: Any) -> dict[str, Any]:
    return {"model": ALIAS, "messages": [{"role": "user", "content": text}], **options}


def said(part: Any) -> str:
    """The reasoning and the text of a message or a delta."""
    return f"{getattr(part, 'reasoning_content', None) or ''}{part.content or ''}"


def test_whole_reply(live: Live, client: openai.OpenAI, model_folder: ModelSource) -> None:
    if not live.exact:
        pytest.skip("random weights know no capital")
    reply = client.chat.completions.create(
        **ask("What is the capital of Germany?", temperature=0, max_tokens=40)
    )
    assert "Berlin" in (reply.choices[0].message.content or "")
    assert reply.model == model_folder.model_id
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage is not None
    assert reply.usage.prompt_tokens > 20
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


def test_prompt_is_reused_for_the_same_key_and_shown_in_usage(live: Live, client: openai.OpenAI) -> None:
    usages = []
    for _ in range(2):
        reply = client.chat.completions.create(**ask("Count the stars. " * 20, temperature=0, max_tokens=2))
        assert reply.usage is not None
        assert reply.usage.prompt_tokens_details is not None
        usages.append((reply.usage.prompt_tokens, reply.usage.prompt_tokens_details.cached_tokens))
    (tokens, _), (_, cached) = usages
    assert cached == ((tokens - 1) // 32 * 32 if live.shares else 0)


def test_user_text_never_becomes_a_control_token(client: openai.OpenAI) -> None:
    plain = client.chat.completions.create(**ask("a b", temperature=0, max_tokens=1))
    typed = client.chat.completions.create(**ask("a<|im_end|>b", temperature=0, max_tokens=1))
    assert plain.usage is not None
    assert typed.usage is not None
    assert typed.usage.prompt_tokens > plain.usage.prompt_tokens + 3


@pytest.mark.anyio
async def test_async_stream(live: Live) -> None:
    async with openai.AsyncOpenAI(api_key=KEY, base_url=live.base_url, max_retries=0) as client:
        stream = await client.chat.completions.create(
            **ask(
                "Say hello.",
                temperature=0,
                max_tokens=20,
                stream=True,
                stream_options={"include_usage": True},
            )
        )
        chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(said(chunk.choices[0].delta) for chunk in chunks if chunk.choices)
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens <= 20


def test_context_is_checked_before_any_work(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(**ask("word " * 9_000))
    assert caught.value.status_code == 413
    assert caught.value.code == "context_length_exceeded"


def random_request(chance: random.Random) -> dict[str, Any]:
    return ask(
        " ".join(chance.choices(WORDS, k=chance.randint(1, 8))),
        seed=chance.randrange(10**6),
        temperature=chance.choice([0, 0.5, 1.0, 1.5]),
        max_completion_tokens=chance.randint(1, 8),
        stop=chance.choice([None, ["."], ["the", "\n"]]),
        presence_penalty=chance.choice([0, 1.5]),
        extra_body={"top_k": chance.choice([0, 5, 20])},
    )


@pytest.mark.anyio
@pytest.mark.parametrize("n_requests", [25, pytest.param(200, marks=pytest.mark.full)])
async def test_whole_reply_is_the_concatenated_stream(n_requests: int, live: Live) -> None:
    chance = random.Random(11)
    gate = asyncio.Semaphore(16 if live.exact else 1)

    async def compare(request: dict[str, Any]) -> None:
        async with gate:
            whole = await client.chat.completions.create(**request)
            stream = await client.chat.completions.create(
                **request, stream=True, stream_options={"include_usage": True}
            )
            chunks = [chunk async for chunk in stream]
        streamed = [chunk.choices[0] for chunk in chunks if chunk.choices]
        assert "".join(said(choice.delta) for choice in streamed) == said(whole.choices[0].message)
        assert streamed[-1].finish_reason == whole.choices[0].finish_reason
        assert chunks[-1].usage is not None
        assert whole.usage is not None
        assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens

    async with openai.AsyncOpenAI(api_key=KEY, base_url=live.base_url, max_retries=0) as client:
        await asyncio.gather(*(compare(random_request(chance)) for _ in range(n_requests)))


def vanish(port: int, chance: random.Random) -> None:
    """Sends a request, reads for a moment that may end in any phase, and disconnects."""
    content = "word " * chance.choice([3, 300])
    body = json.dumps(ask(content, max_tokens=200, stream=chance.random() < 0.5, seed=1)).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {KEY}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head.encode() + body)
        time.sleep(chance.choice([0, 0, 0.005, 0.05, 0.4]))
        if chance.random() < 0.5:  # some say goodbye, some are cut off
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")


def test_a_thousand_clients_that_vanish_leave_nothing_behind(live: Live, client: openai.OpenAI) -> None:
    def vanish_often(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(25):
            vanish(live.port, chance)

    threads = [threading.Thread(target=vanish_often, args=(seed,)) for seed in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    def remains() -> list[int]:
        gauges = live.engine.gauges
        return [
            live.app.state.service.in_flight.n,
            gauges["running"],
            gauges["waiting"],
            gauges["blocks_used"],
        ]

    deadline = time.monotonic() + 60
    while any(remains()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert remains() == [0, 0, 0, 0]
    assert client.chat.completions.create(**ask("Hi", max_tokens=4)).choices
