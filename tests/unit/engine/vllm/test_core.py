"""The core against an EngineCore that does what the test says; vLLM itself is not needed."""

import asyncio
import json
import logging
import select
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.waiting import wait_for

from tessera.core.generation import EngineInfo, Grammar, Prompt, Sampling, ThinkingBudget, TokenChunk
from tessera.engine.host.core import SteppedElsewhere
from tessera.engine.vllm import api
from tessera.engine.vllm.core import VllmCore
from tessera.engine.vllm.cores import EngineCores
from tessera.engine.vllm.failures import FailureLog, OneLine
from tessera.errors import (
    ContextLengthExceeded,
    GenerationFailed,
    GrammarFailed,
    StartupError,
    TesseraError,
    UnsupportedParameter,
)

INFO = EngineInfo("m", 64, 300, frozenset({2}), max_sequences=4)
PROMPT = Prompt((5, 6, 7), cache_salt=b"\x01\xff", priority=3)


@dataclass
class Stats:
    num_waiting_reqs: int = 0
    kv_cache_usage: float = 0.0


@dataclass
class Logprobs:
    logprob_token_ids: np.ndarray
    logprobs: np.ndarray


@dataclass
class Output:
    request_id: str
    new_token_ids: list[int]
    finish_reason: str | None = None
    new_logprobs: Logprobs | None = None
    num_cached_tokens: int = 0


@dataclass
class Outputs:
    outputs: list[Output]
    scheduler_stats: Stats | None = field(default_factory=Stats)
    engine_index: int = 0


class FakeClient:
    """Does what vLLM's client of an EngineCore does, as far as we use it."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.aborted: list[str] = []
        self.loop = asyncio.get_running_loop()
        self._outputs: asyncio.Queue[Outputs | BaseException] = asyncio.Queue()

    async def add_request_async(self, request: Any) -> None:
        self.sent.append(request)

    async def abort_requests_async(self, ids: list[str]) -> None:
        self.aborted += ids

    async def get_output_async(self) -> Outputs:
        got = await self._outputs.get()
        if isinstance(got, BaseException):
            raise got
        return got

    def make(self, *outputs: Output, stats: Stats | None = None, replica: int = 0) -> None:
        self.tell(Outputs([*outputs], stats or Stats(), replica))

    def tell(self, what: Outputs | BaseException) -> None:
        self.loop.call_soon_threadsafe(self._outputs.put_nowait, what)


def build(id: str, token_ids: Any, fields: Any, **others: Any) -> dict[str, Any]:
    if fields["max_tokens"] == 13:
        raise ValueError("private words")
    return {"id": id, "token_ids": token_ids, **fields, **others}


@pytest.fixture
def failures(tmp_path: Path) -> FailureLog:
    return FailureLog(tmp_path, "model")


@pytest.fixture
def cores(failures: FailureLog) -> EngineCores:
    return EngineCores(FakeClient, failures)


@pytest.fixture
def client(cores: EngineCores) -> FakeClient:
    return cores.client


@pytest.fixture
def core(cores: EngineCores) -> VllmCore:
    return core_of(cores)


def core_of(cores: EngineCores, *, drafts: bool = False, stall_s: float = 60) -> VllmCore:
    return VllmCore(INFO, cores, n_blocks=10, drafts=drafts, stall_s=stall_s, build=build)


def wait(core: VllmCore) -> None:
    readable, _, _ = select.select([core], [], [], 60)
    assert readable


def step(core: VllmCore) -> list[tuple[int, TokenChunk | TesseraError]]:
    wait(core)
    assert core.busy
    return core.step()


def sent(client: FakeClient) -> list[Any]:
    """All that was sent so far. The loop is asked after it has done all that was given to it before."""

    async def all_sent() -> list[Any]:
        await asyncio.sleep(0)
        return client.sent

    return asyncio.run_coroutine_threadsafe(all_sent(), client.loop).result(60)


def test_it_is_a_core_that_is_stepped_elsewhere(core: VllmCore) -> None:
    assert isinstance(core, SteppedElsewhere)
    assert not core.busy
    assert core.step() == []


def test_a_request_is_one_of_vllms_for_each_sequence(core: VllmCore, client: FakeClient) -> None:
    grammar = Grammar("start: /a+/\n")
    core.submit(7, replace(PROMPT, grammar=grammar), Sampling(max_tokens=5, seed=3, n=2))
    first, second = sent(client)
    assert (first["id"], second["id"]) == ("7.0", "7.1")
    assert (first["seed"], second["seed"]) == (3, 4)
    assert (first["cache_salt"], first["priority"], first["lark"]) == ("01ff", -3, grammar.lark)
    assert first["token_ids"] == (5, 6, 7)


def test_tokens_become_chunks_of_their_sequences(core: VllmCore, client: FakeClient) -> None:
    core.submit(1, PROMPT, Sampling(max_tokens=3, n=2))
    client.make(Output("1.0", [11], num_cached_tokens=2), Output("1.1", [12], num_cached_tokens=2))
    assert step(core) == [(1, TokenChunk(0, (11,), None, 2)), (1, TokenChunk(1, (12,), None, 2))]
    client.make(Output("1.0", [13, 14], "length"), Output("1.1", [2], "stop"))
    assert step(core) == [(1, TokenChunk(0, (13, 14), "length", 2)), (1, TokenChunk(1, (2,), "stop", 2))]
    assert core.gauges()["running"] == 0


def test_a_step_without_tokens_makes_no_chunk(core: VllmCore, client: FakeClient) -> None:
    core.submit(1, PROMPT, Sampling(max_tokens=3))
    client.make(Output("1.0", []))
    assert step(core) == []
    client.make(Output("1.0", [], "length"))
    assert step(core) == [(1, TokenChunk(0, (), "length"))]


def test_logprobs_are_bounded_and_have_as_many_alternatives_as_asked(
    core: VllmCore, client: FakeClient
) -> None:
    core.submit(1, PROMPT, Sampling(max_tokens=3, top_logprobs=2))
    rows = Logprobs(np.array([[4, 9, 4, 8]]), np.array([[-1.5, -0.5, -1.5, -np.inf]]))
    client.make(Output("1.0", [4], new_logprobs=rows))
    [(_, chunk)] = step(core)
    assert isinstance(chunk, TokenChunk)
    [entry] = chunk.logprobs
    assert (entry.token_id, entry.logprob, entry.top) == (4, -1.5, ((9, -0.5), (4, -1.5)))
    low = Logprobs(np.array([[4, 9]]), np.array([[-np.inf, 1e-9]]))
    client.make(Output("1.0", [4], new_logprobs=low))
    [(_, chunk)] = step(core)
    assert isinstance(chunk, TokenChunk)
    assert (chunk.logprobs[0].logprob, chunk.logprobs[0].top) == (-9999.0, ((9, 0.0),))


def test_an_aborted_request_is_ended_and_heard_of_no_more(core: VllmCore, client: FakeClient) -> None:
    core.submit(1, PROMPT, Sampling(max_tokens=9, n=2))
    client.make(Output("1.0", [3], "length"))
    step(core)
    core.abort(1)
    core.abort(1)
    core.abort(99)
    sent(client)
    assert client.aborted == ["1.1"]
    client.make(Output("1.1", [4]))
    assert step(core) == []
    assert core.gauges() == {"running": 0, "waiting": 0, "blocks_used": 0, "blocks_total": 10}


@pytest.mark.parametrize(
    ("prompt", "kind"),
    [(PROMPT, GenerationFailed), (replace(PROMPT, grammar=Grammar("start: /a/")), GrammarFailed)],
)
def test_a_sequence_that_fails_fails_its_request_alone(
    core: VllmCore, client: FakeClient, prompt: Prompt, kind: type[TesseraError]
) -> None:
    core.submit(1, prompt, Sampling(max_tokens=9, n=2))
    core.submit(2, PROMPT, Sampling(max_tokens=9))
    client.make(Output("1.0", [], "error"), Output("1.1", [8]), Output("2.0", [9]))
    (failed, error), other = step(core)
    assert (failed, type(error)) == (1, kind)
    assert "start:" not in str(error)
    assert other == (2, TokenChunk(0, (9,)))
    sent(client)
    assert client.aborted == ["1.0", "1.1"]


def test_gauges_are_vllms(core: VllmCore, client: FakeClient) -> None:
    for request in range(3):
        core.submit(request, PROMPT, Sampling(max_tokens=9))
    client.make(stats=Stats(num_waiting_reqs=2, kv_cache_usage=0.31))
    step(core)
    assert core.gauges() == {"running": 1, "waiting": 2, "blocks_used": 3, "blocks_total": 10}


def test_gauges_of_replicas_are_added(core: VllmCore, client: FakeClient) -> None:
    for request in range(4):
        core.submit(request, PROMPT, Sampling(max_tokens=9))
    client.make(stats=Stats(num_waiting_reqs=1, kv_cache_usage=0.2), replica=0)
    client.make(stats=Stats(num_waiting_reqs=2, kv_cache_usage=0.6), replica=1)
    wait_for(lambda: bool(core.step()) or core.gauges()["waiting"] == 3)
    assert core.gauges() == {"running": 1, "waiting": 3, "blocks_used": 4, "blocks_total": 10}


def test_a_prompt_that_fills_the_context_is_refused(core: VllmCore, client: FakeClient) -> None:
    with pytest.raises(ContextLengthExceeded):
        core.submit(1, Prompt((1,) * 64), Sampling(max_tokens=1))
    assert sent(client) == []
    assert core.gauges()["running"] == 0


def test_what_vllm_refuses_leaves_nothing_behind(core: VllmCore, client: FakeClient) -> None:
    with pytest.raises(ValueError, match="private"):
        core.submit(1, PROMPT, Sampling(max_tokens=13))
    assert sent(client) == []
    assert core.gauges()["running"] == 0


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(3, min_p=0.1),
        Sampling(3, logit_bias={1: 2.0}),
        Sampling(3, thinking_budget=ThinkingBudget(0, close_ids=(20,), end=20)),
    ],
)
def test_with_drafts_three_fields_are_refused(
    cores: EngineCores, client: FakeClient, sampling: Sampling
) -> None:
    with pytest.raises(UnsupportedParameter):
        core_of(cores, drafts=True).submit(1, PROMPT, sampling)
    assert sent(client) == []
    core_of(cores).submit(1, PROMPT, sampling)
    assert len(sent(client)) == 1


def test_a_thinking_budget_is_part_of_the_grammar(core: VllmCore, client: FakeClient) -> None:
    budget = ThinkingBudget(9, close_ids=(10, 20), end=20)
    core.submit(1, PROMPT, Sampling(max_tokens=3, thinking_budget=budget))
    [asked] = sent(client)
    assert "[max_tokens=9]" in asked["lark"]


def test_a_grammar_is_read_before_vllm_gets_it() -> None:
    api.check_grammar('start: "a" <[2]>\n')
    with pytest.raises(GrammarFailed) as failed:
        api.check_grammar("start: privateword\n")
    assert "privateword" not in str(failed.value)


def test_the_death_of_the_engine_core_ends_the_core(core: VllmCore, client: FakeClient) -> None:
    core.submit(1, PROMPT, Sampling(max_tokens=9))
    client.make(Output("1.0", [4]))
    wait(core)
    client.tell(RuntimeError("died"))
    assert step(core) == [(1, TokenChunk(0, (4,)))]
    wait(core)
    assert core.busy
    with pytest.raises(RuntimeError, match="EngineCore has died"):
        core.step()


def test_a_death_is_seen_after_outputs_that_came_with_it(
    core: VllmCore, cores: EngineCores, client: FakeClient
) -> None:
    core.submit(1, PROMPT, Sampling(max_tokens=9))
    client.make(Output("1.0", [4]))
    client.tell(RuntimeError("died"))
    wait_for(lambda: cores.is_dead)
    assert step(core) == [(1, TokenChunk(0, (4,)))]
    wait(core)
    with pytest.raises(RuntimeError, match="EngineCore has died"):
        core.step()


def test_steps_that_do_not_come_end_the_core_while_it_has_requests(cores: EngineCores) -> None:
    core = core_of(cores, stall_s=0)
    assert not core.busy
    core.submit(1, PROMPT, Sampling(max_tokens=9))
    while not core.busy:
        pass
    with pytest.raises(RuntimeError, match="has made no step for 0 s"):
        core.step()


def log_failure(failures: FailureLog, error: Exception) -> None:
    """As vLLM's processes do."""
    handlers = json.loads(failures.configuration.read_bytes())["handlers"]
    with Path(handlers["failures"]["filename"]).open("a") as file:
        file.write(OneLine().format(logging.makeLogRecord({"exc_info": (type(error), error, None)})) + "\n")


def test_a_model_that_cannot_be_loaded_is_reported_with_the_first_cause(failures: FailureLog) -> None:
    def fails() -> Any:
        try:
            raise MemoryError("no room")
        except MemoryError as error:
            raise RuntimeError("Engine core initialization failed") from error

    with pytest.raises(StartupError, match="could not load the model: MemoryError: no room"):
        EngineCores(fails, failures)
    log_failure(failures, OSError("all full"))
    log_failure(failures, RuntimeError("a worker has failed"))
    with pytest.raises(StartupError, match="could not load the model: OSError: all full"):
        EngineCores(fails, failures)


def test_a_death_is_reported_with_the_last_failure_since_the_model_was_loaded(failures: FailureLog) -> None:
    log_failure(failures, ValueError("of an earlier start"))
    for error, said in ((None, "RuntimeError: see above"), (OSError("all full"), "OSError: all full")):
        cores = EngineCores(FakeClient, failures)
        if error:
            log_failure(failures, KeyError("of one request"))
            log_failure(failures, error)
        cores.client.tell(RuntimeError("see above"))
        core = core_of(cores)
        wait(core)
        with pytest.raises(RuntimeError, match=f"EngineCore has died: {said}"):
            core.step()
