import inspect
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractContextManager, aclosing
from dataclasses import dataclass
from typing import Any

import openai
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send
from tests.hosted import EXACT_STARTS, exact, private, tokenizer_of
from tests.limits import LIMITS
from tests.templates import choose_format

from tessera.access.keys import Keys
from tessera.catalog import Catalog, Model
from tessera.core.generation import EngineInfo, Prompt, Sampling, TokenChunk
from tessera.engine.host.frames import Start
from tessera.engine.host.private import PrivateEngine
from tessera.grammars.checker import GrammarCheck
from tessera.http.app import build_app
from tessera.http.service import Service
from tessera.models.source import ModelSource

NO_BUDGETS = "vLLM cannot count up to a closing tag that is ordinary text"


@dataclass(frozen=True)
class Generation:
    """The input and the output of one generation."""

    prompt: Prompt
    sampling: Sampling
    output: list[int]


class Recorded:
    """An engine that records its generations."""

    def __init__(self, engine: PrivateEngine) -> None:
        self.engine = engine
        self.generations: list[Generation] = []

    @property
    def info(self) -> EngineInfo:
        return self.engine.info

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[TokenChunk]:
        generation = Generation(prompt, sampling, [])
        self.generations.append(generation)
        async with aclosing(self.engine.generate(prompt, sampling)) as chunks:
            async for chunk in chunks:
                generation.output.extend(chunk.token_ids)
                yield chunk

    async def start(self) -> None:
        await self.engine.start()

    def unready(self) -> str | None:
        return self.engine.unready()

    async def aclose(self) -> None:
        await self.engine.aclose()


@dataclass(frozen=True)
class LiveService:
    """The embedded model, served with all it can do. One without `budgets` refuses those of reasoning; unless
    it `shares`, each prompt is computed from its beginning.
    """

    model: Model
    client: openai.OpenAI
    engine: Recorded
    budgets: bool
    shares: bool

    def ask(self, text: str = "Tell me of the sea.", **fields: Any) -> Any:
        """Asks for a whole reply or a stream. Fields that the client does not know are sent too."""
        known = inspect.signature(self.client.chat.completions.create).parameters
        extra = {name: fields.pop(name) for name in [*fields] if name not in known}
        asked = {"messages": [{"role": "user", "content": text}], **fields}
        return self.client.chat.completions.create(model=self.model.id, extra_body=extra, **asked)


@pytest.fixture(scope="session", params=EXACT_STARTS)
def service(
    request: pytest.FixtureRequest,
    model_folder: ModelSource,
    run_app: Callable[[ASGIApp], AbstractContextManager[int]],
) -> Iterator[LiveService]:
    """The service in its exact mode: a sequence must not depend on what was cached of it."""
    config: Start = request.getfixturevalue(request.param)
    tokenizer = tokenizer_of(model_folder)
    chat_format = choose_format(
        model_folder.chat_template, control_tokens=tokenizer.control_tokens.keys(), eos=model_folder.eos_token
    )
    engine = Recorded(private(exact(config, request.param)))
    grammars = GrammarCheck(
        tokenizer.control_tokens, tokenizer.vocabulary_size, chat_format.syntax, deadline_s=300, wait_s=300
    )
    model = Model(
        engine.info.model_id, engine, tokenizer, chat_format, chat_format.sampling, 1, grammars=grammars
    )
    key = "sk-tessera-" + "s" * 40
    app = build_app(Service(catalog=Catalog([model], {}, model.id), keys=Keys([key]), limits=LIMITS))

    async def starting(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await engine.start()
        await app(scope, receive, send)

    with (
        run_app(starting) as port,
        openai.OpenAI(api_key=key, base_url=f"http://127.0.0.1:{port}/v1", max_retries=0) as client,
    ):
        on_vllm = "vllm" in request.param
        yield LiveService(model, client, engine, budgets=not on_vllm, shares=not on_vllm)
