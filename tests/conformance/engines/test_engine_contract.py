"""What `engine/base.py` promises, held against every engine."""

import asyncio
import hashlib
import itertools
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass

import pytest
from tests.conformance.engines import fake_worker
from tests.hosted import changed, private, tiny_llama_start
from tests.tiny_architectures import ARCHITECTURES, Architecture
from tests.waiting import until

from tessera.core.generation import Prompt, Sampling, TokenChunk
from tessera.engine.base import Engine
from tessera.engine.host.frames import Start
from tessera.engine.host.private import PrivateEngine
from tessera.engine.scripted.engine import ScriptedEngine, ScriptedTokenizer, paced
from tessera.errors import EngineUnavailable

pytestmark = pytest.mark.anyio

PROMPT = Prompt((11, 12, 13))
LONG = Sampling(max_tokens=400, seed=1)


@dataclass(frozen=True)
class Subject:
    """An engine, and what its tests need to know of it. `held` counts what generations hold, and is 0 when
    idle. An engine that is not `exact` gives the same tokens only while nothing else runs.
    """

    engine: Engine
    held: Callable[[], int]
    prompt: Prompt
    exact: bool = True


def hashed(prompt: Prompt, sequence: int) -> Iterator[int]:
    """Endless tokens, a hash of the prompt and the number of the sequence."""
    for position in itertools.count():
        yield hashlib.sha256(repr((prompt.token_ids, sequence, position)).encode()).digest()[0]


@asynccontextmanager
async def scripted(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    engine = ScriptedEngine(ScriptedTokenizer(), hashed, paced(2000))
    yield Subject(engine, lambda: engine.n_running, PROMPT)
    await engine.aclose()


@asynccontextmanager
async def openvino_process(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    """The process of the CPU engine around a core without a model."""
    engine = private(fake_worker.START, command=fake_worker.COMMAND)
    await engine.start()
    yield Subject(engine, lambda: held(engine), PROMPT)
    await engine.aclose()


@asynccontextmanager
async def elsewhere_process(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    """A process whose core does not wait for its `step`, as that of vLLM."""
    start = changed(fake_worker.START, factory="__main__:ElsewhereCore")
    engine = private(start, command=fake_worker.COMMAND)
    await engine.start()
    yield Subject(engine, lambda: held(engine), PROMPT)
    await engine.aclose()


@asynccontextmanager
async def openvino(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    """The embedded model, small enough to start quickly."""
    config: Start = request.getfixturevalue("openvino_start")
    engine = private(changed(config, kv_cache_bytes=2**27, max_sequences=8, step_tokens=64))
    await engine.start()
    yield Subject(engine, lambda: held(engine), Prompt(tuple(range(1000, 1050))))
    await engine.aclose()


@asynccontextmanager
async def llamacpp(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    """The embedded model in llama.cpp, exact: otherwise tokens depend on what else runs."""
    config: Start = request.getfixturevalue("llama_start")
    engine = private(changed(config, exact=True))
    await engine.start()
    yield Subject(engine, lambda: held(engine), Prompt(tuple(range(1000, 1050))))
    await engine.aclose()


def tiny_llamacpp(architecture: Architecture) -> Callable[..., AbstractAsyncContextManager[Subject]]:
    """Random weights of an architecture in llama.cpp, exact as well."""

    @asynccontextmanager
    async def one(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
        request.getfixturevalue("llama_start")  # skips without a library
        factory: pytest.TempPathFactory = request.getfixturevalue("tmp_path_factory")
        config = tiny_llama_start(factory.mktemp(architecture), architecture)
        engine = private(changed(config, exact=True))
        await engine.start()
        yield Subject(engine, lambda: held(engine), Prompt(tuple(range(20, 70))))
        await engine.aclose()

    return one


@asynccontextmanager
async def vllm(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    """A tiny llama in vLLM, in float32: otherwise tokens depend on what else runs."""
    config: Start = request.getfixturevalue("vllm_llama_start")
    engine = private(config)
    await engine.start()
    yield Subject(engine, lambda: held(engine), Prompt(tuple(range(100, 150))))
    await engine.aclose()


@asynccontextmanager
async def vllm_hybrid(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    """A tiny Qwen3.6 in vLLM, which is not exact."""
    config: Start = request.getfixturevalue("vllm_qwen_start")
    engine = private(config)
    await engine.start()
    yield Subject(engine, lambda: held(engine), Prompt(tuple(range(100, 150))), exact=False)
    await engine.aclose()


def held(engine: PrivateEngine) -> int:
    return sum(engine.gauges.get(name, 0) for name in ("running", "waiting", "blocks_used"))


LIVE = [pytest.param(each, marks=pytest.mark.live) for each in (openvino, llamacpp)]
# The quick run has one that keeps recurrent states, and one with windows.
_QUICK: tuple[Architecture, ...] = ("qwen35moe", "gemma3")
TINY = [
    pytest.param(
        tiny_llamacpp(each),
        marks=[pytest.mark.live, *([] if each in _QUICK else [pytest.mark.full])],
        id=f"llamacpp-{each}",
    )
    for each in ARCHITECTURES
]
VLLM = [pytest.param(each, marks=[pytest.mark.live, pytest.mark.vllm]) for each in (vllm, vllm_hybrid)]
ENGINES = [scripted, openvino_process, elsewhere_process, *LIVE, *TINY, *VLLM]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module", params=ENGINES)
def make(request: pytest.FixtureRequest) -> Callable[[], AbstractAsyncContextManager[Subject]]:
    """Starts an engine for tests that leave it unusable."""
    return lambda: request.param(request)


@pytest.fixture(scope="module")
async def subject(
    make: Callable[[], AbstractAsyncContextManager[Subject]], anyio_backend: str
) -> AsyncIterator[Subject]:
    async with make() as subject:
        yield subject


async def tokens_of(chunks: AsyncGenerator[TokenChunk]) -> dict[int, list[int]]:
    tokens: dict[int, list[int]] = defaultdict(list)
    async with aclosing(chunks):
        async for chunk in chunks:
            tokens[chunk.sequence] += chunk.token_ids
    return dict(tokens)


async def test_every_sequence_finishes_exactly_once_and_then_the_generation_ends(subject: Subject) -> None:
    finished: list[int] = []
    sampling = Sampling(max_tokens=9, seed=3, n=3)
    async for chunk in subject.engine.generate(subject.prompt, sampling):
        assert chunk.sequence not in finished
        if chunk.finish:
            finished.append(chunk.sequence)
    assert sorted(finished) == [0, 1, 2]


@pytest.mark.parametrize("n_tokens", [1, 2, 7, 33])
async def test_max_tokens_is_exact(subject: Subject, n_tokens: int) -> None:
    chunks = [c async for c in subject.engine.generate(subject.prompt, Sampling(n_tokens, seed=1, n=2))]
    for sequence in (0, 1):
        own = [c for c in chunks if c.sequence == sequence]
        assert sum(len(c.token_ids) for c in own) == n_tokens
        assert own[-1].finish == "length"


async def test_a_stop_token_is_the_last_one_reported(subject: Subject) -> None:
    free = (await tokens_of(subject.engine.generate(subject.prompt, Sampling(12, seed=5))))[0]
    stop = free[6]
    sampling = Sampling(12, stop_token_ids=frozenset({stop, 10**6}), seed=5)
    chunks = [c async for c in subject.engine.generate(subject.prompt, sampling)]
    assert [id for c in chunks for id in c.token_ids] == free[: free.index(stop) + 1]
    assert chunks[-1].finish == "stop"


async def test_the_same_seed_gives_the_same_tokens(subject: Subject) -> None:
    sampling = Sampling(20, seed=8, n=2)
    once = await tokens_of(subject.engine.generate(subject.prompt, sampling))
    again = await tokens_of(subject.engine.generate(subject.prompt, sampling))
    assert once == again
    assert once[0] != once[1]


async def test_logprobs_are_parallel_to_the_tokens_when_asked_for(subject: Subject) -> None:
    assert "logprobs" in subject.engine.info.features
    async for chunk in subject.engine.generate(subject.prompt, Sampling(6, seed=1, top_logprobs=1)):
        assert [entry.token_id for entry in chunk.logprobs] == list(chunk.token_ids)
        assert all(len(entry.top) == 1 and entry.logprob <= 0 for entry in chunk.logprobs)
    async for chunk in subject.engine.generate(subject.prompt, Sampling(3, seed=1)):
        assert chunk.logprobs == ()


@pytest.mark.parametrize("n_chunks", [1, 2, 5])
async def test_closing_after_some_chunks_frees_everything(subject: Subject, n_chunks: int) -> None:
    chunks = subject.engine.generate(subject.prompt, LONG)
    for _ in range(n_chunks):
        await anext(chunks)
    await chunks.aclose()
    await until(lambda: subject.held() == 0)


@pytest.mark.parametrize("delay_s", [0.0, 0.0005, 0.003])
async def test_closing_before_the_first_chunk_frees_everything(subject: Subject, delay_s: float) -> None:
    chunks = subject.engine.generate(subject.prompt, LONG)
    first = asyncio.ensure_future(anext(chunks))
    await asyncio.sleep(delay_s)
    first.cancel()
    await asyncio.wait([first])
    await chunks.aclose()
    await until(lambda: subject.held() == 0)
    assert await tokens_of(subject.engine.generate(subject.prompt, Sampling(3, seed=1)))


async def test_a_generation_that_was_never_begun_holds_nothing(subject: Subject) -> None:
    await subject.engine.generate(subject.prompt, LONG).aclose()
    assert subject.held() == 0


async def test_a_finished_generation_holds_nothing(subject: Subject) -> None:
    await tokens_of(subject.engine.generate(subject.prompt, Sampling(5, seed=1, n=2)))
    await until(lambda: subject.held() == 0)


async def test_mixed_generations_run_beside_each_other(subject: Subject) -> None:
    """Of twelve, every third is closed on the way; the others get exactly what they asked for."""

    async def generate(i: int) -> int | None:
        prompt = Prompt((*subject.prompt.token_ids, i), priority=i % 3, cache_salt=bytes([i % 2]))
        sampling = Sampling(5 + 3 * i, seed=i, n=1 + i % 2, temperature=i % 2)
        async with aclosing(subject.engine.generate(prompt, sampling)) as chunks:
            if i % 3 == 2:
                await anext(chunks)
                return None
            n_tokens = [len(chunk.token_ids) async for chunk in chunks]
        assert sum(n_tokens) == sampling.max_tokens * sampling.n
        return i

    done = await asyncio.gather(*map(generate, range(12)))
    assert [i for i in done if i is not None] == [i for i in range(12) if i % 3 != 2]
    await until(lambda: subject.held() == 0)


async def test_a_slow_reader_gets_all_and_holds_up_nobody(subject: Subject) -> None:
    slow = subject.engine.generate(subject.prompt, Sampling(40, seed=2, n=2))
    first = await anext(slow)
    others = (subject.engine.generate(subject.prompt, Sampling(40, seed=2, n=2)) for _ in range(3))
    alone, *rest = await asyncio.gather(*map(tokens_of, others))
    late = await tokens_of(slow)
    late[first.sequence] = [*first.token_ids, *late[first.sequence]]
    assert {len(tokens) for each in (late, alone, *rest) for tokens in each.values()} == {40}
    if not subject.exact:
        return
    assert late == alone
    assert all(tokens == alone for tokens in rest)


async def test_closing_the_engine_ends_all_generations_and_may_be_repeated(
    make: Callable[[], AbstractAsyncContextManager[Subject]],
) -> None:
    async with make() as subject:
        engine = subject.engine
        running = [engine.generate(subject.prompt, LONG) for _ in range(3)]
        for chunks in running:
            await anext(chunks)
        assert engine.unready() is None
        await engine.aclose()
        await engine.aclose()
        for chunks in running:
            with pytest.raises(EngineUnavailable):
                await tokens_of(chunks)
        with pytest.raises(EngineUnavailable) as refused:
            await anext(engine.generate(subject.prompt, LONG))
        assert refused.value.retry_after_s
        assert engine.unready()
