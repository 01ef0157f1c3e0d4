"""Replicas behind a front are killed: what clients get, what is on record, and what limits count.

The front and the replicas are those of a cluster; only Ray is missing, which would choose the replica.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any

import httpx2
import openai
import pytest
from starlette.types import ASGIApp
from tests.load import recorded
from tests.redis_server import RedisServer
from tests.redis_server import redis_server as redis_server
from tests.serving import Start, launching
from tests.waiting import wait_for

from tessera.cluster.front import build_front
from tessera.cluster.plan import ServedModel
from tessera.cluster.relayed import HEADER, Relayed, relay_key, sign
from tessera.cluster.upstream import Outgoing, ReplicaLost
from tessera.http.limits import BodyLimits

PEPPER = "secret-of-digests-" + "p" * 32
KEY = "sk-tessera-" + "r" * 40
N_TOKENS = 120
MODELS = (ServedModel("mine", ("mine",), may_sleep=False),)
LIMITS = BodyLimits(max_body_bytes=10_000, body_deadline_s=60)


class OneAfterTheOther:
    """`Replicas` at these URLs: a request goes to the first that has not been lost."""

    def __init__(self, urls: Sequence[str]) -> None:
        self.urls = list(urls)

    async def start(self) -> None:
        self._client = httpx2.AsyncClient(timeout=300)

    async def aclose(self) -> None:
        await self._client.aclose()

    def _lose(self, url: str) -> None:
        self.urls = [each for each in self.urls if each != url]

    @asynccontextmanager
    async def asked(self, application: str, outgoing: Outgoing) -> AsyncGenerator["HttpxAnswer"]:
        url = self.urls[0]
        said = sign(relay_key(PEPPER.encode()), Relayed("none", outgoing.reply, outgoing.client))
        request = self._client.build_request(
            outgoing.method,
            url + outgoing.path,
            headers=[*outgoing.headers, (HEADER, said)],
            content=outgoing.body,
        )
        try:
            response = await self._client.send(request, stream=True)
        except httpx2.TransportError as error:
            self._lose(url)
            raise ReplicaLost from error
        try:
            yield HttpxAnswer(response)
        except ReplicaLost:
            self._lose(url)
            raise
        finally:
            await response.aclose()


class HttpxAnswer:
    def __init__(self, response: httpx2.Response) -> None:
        self.status = response.status_code
        self.headers = response.headers.raw
        self.is_stream = response.headers["content-type"].startswith("text/event-stream")
        self._response = response

    async def parts(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._response.aiter_raw():
                yield part
        except httpx2.TransportError as error:
            raise ReplicaLost from error


@pytest.fixture
def replica(environment: dict[str, str]) -> Iterator[Start]:
    with launching(environment, sys.executable, "-m", "tests.relayed_replica") as start:
        yield start


def test_replies_go_on_and_are_counted_once(
    environment: dict[str, str],
    replica: Start,
    redis_server: RedisServer,
    run_app: Callable[[ASGIApp], AbstractContextManager[int]],
) -> None:
    variables = {
        "TESSERA_API_KEY": KEY,
        "TESSERA_ENGINE": "scripted",
        "TESSERA_MODEL_NAME": "mine",
        "TESSERA_PEPPER": PEPPER,
        "TESSERA_REDIS_URL": redis_server.create(),
        "TESSERA_SCRIPTED_TOKENS_PER_S": "20",
    }
    processes = [replica(**variables) for _ in range(2)]
    urls = [process.stdout.readline().strip() for process in processes if process.stdout]
    assert all(urls), processes[0].communicate()
    replicas = OneAfterTheOther(urls)

    async def check(port: int) -> None:
        url = f"http://127.0.0.1:{port}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0) as client:
            await ask_all(client)

    async def ask_all(client: openai.AsyncOpenAI) -> None:
        begun: set[int] = set()

        async def stream(number: int, **fields: Any) -> tuple[str, str, int]:
            """Id, text and completion tokens."""
            asked: dict[str, Any] = {"model": "mine", "max_tokens": N_TOKENS, **fields}
            id, text, n_tokens = "", "", 0
            chunks = await client.chat.completions.create(
                messages=[{"role": "user", "content": "Hello"}],
                stream=True,
                stream_options={"include_usage": True},
                **asked,
            )
            async for chunk in chunks:
                id = chunk.id
                n_tokens = chunk.usage.completion_tokens if chunk.usage else 0
                text += "".join(choice.delta.content or "" for choice in chunk.choices)
                begun.add(number)
            return id, text, n_tokens

        async def whole() -> tuple[str, str, int]:
            reply = await client.chat.completions.create(
                model="mine", messages=[{"role": "user", "content": "Hello"}], max_tokens=N_TOKENS
            )
            assert reply.usage
            return reply.id, reply.choices[0].message.content or "", reply.usage.completion_tokens

        asking = [
            asyncio.create_task(each)
            for each in (stream(0, seed=1), stream(1, temperature=0), whole(), stream(2))
        ]
        async with asyncio.timeout(300):
            while len(begun) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        processes[0].kill()
        *kept, lost = await asyncio.gather(*asking, return_exceptions=True)
        assert isinstance(lost, openai.APIError)
        assert lost.code == "replica_lost"
        results = [each for each in kept if isinstance(each, tuple)]
        assert len(results) == 3, kept
        assert len({text for _, text, _ in results}) == 1
        assert {n_tokens for *_, n_tokens in results} == {N_TOKENS}
        ids = {id for id, *_ in results}
        database = environment["TESSERA_DATABASE_URL"]
        # The other replica takes over what the killed one has left.
        await asyncio.to_thread(wait_for, lambda: len(recorded(database)) == 4, 120)
        rows = recorded(database)
        assert {rows[id][1:] for id in ids} == {(N_TOKENS, "length")}
        (other,) = rows.keys() - ids
        assert rows[other][2] in ("open", "interrupted")

    with run_app(build_front(MODELS, replicas, LIMITS)) as port:
        asyncio.run(check(port))
