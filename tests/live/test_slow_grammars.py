"""Masks that are late, or dear, in the engine itself: steps are counted, and no time is measured."""

# ruff: noqa: F811 - fixtures of another module

import random
import threading
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

import pytest
from llguidance import LLMatcher
from tests.hosted import core_of
from tests.live.test_grammars_in_engine import config, made, prompt, tokenizer  # noqa: F401

from tessera.core.generation import Prompt, Sampling, ThinkingBudget
from tessera.engine.batch.core import BatchCore
from tessera.engine.batch.masks import Bits, compute_mask
from tessera.engine.host.frames import Start
from tessera.errors import GrammarTooSlow, TesseraError
from tessera.text.hf import HfTokenizer

pytestmark = pytest.mark.live

PATIENCE_S = 60


class Machine:
    """Computes as many masks as it may; each takes `mask_s` by its clock."""

    def __init__(self) -> None:
        self.mask_s = 0.0
        self.allowed = threading.Semaphore(10**6)
        self._at = threading.local()

    def compute(self, matcher: LLMatcher, vocabulary_size: int) -> Bits:
        assert self.allowed.acquire(timeout=PATIENCE_S)
        self._at.s = self.clock() + self.mask_s
        return compute_mask(matcher, vocabulary_size)

    def clock(self) -> float:
        return getattr(self._at, "s", 0.0)

    def stop(self) -> None:
        while self.allowed.acquire(blocking=False):
            pass

    def go_on(self) -> None:
        self.allowed.release(10**6)


class Runs:
    """Requests on a core, step by step."""

    def __init__(self, core: BatchCore, requests: list[tuple[Prompt, Sampling]]) -> None:
        self.core = core
        self.tokens: dict[tuple[int, int], list[int]] = defaultdict(list)
        self.failures: dict[int, TesseraError] = {}
        for id, request in enumerate(requests):
            core.submit(id, *request)

    def step(self) -> set[int]:
        """Runs one step; returns the requests with output."""
        outputs = self.core.step()
        for id, output in outputs:
            if isinstance(output, TesseraError):
                self.failures[id] = output
            else:
                self.tokens[id, output.sequence] += output.token_ids
        return {id for id, _ in outputs}

    def finish(self) -> "Runs":
        while self.core.busy:
            self.step()
        assert self.core.gauges()["blocks_used"] == 0
        return self


@pytest.fixture(scope="module")
def engine() -> str:
    """One engine suffices, since masks are computed in the same way for all."""
    return "openvino_start"


@pytest.fixture(scope="module")
def machine() -> Machine:
    return Machine()


@pytest.fixture(scope="module")
def core(config: Start, machine: Machine) -> BatchCore:
    return core_of(config, compute=machine.compute, clock=machine.clock)


@pytest.fixture(autouse=True)
def reset(machine: Machine) -> Iterator[None]:
    yield
    machine.mask_s = 0.0
    machine.go_on()


@pytest.fixture
def sampling(core: BatchCore) -> Sampling:
    return Sampling(120, core.info.eos_token_ids, temperature=2, seed=1)


def test_a_mask_that_is_not_ready_holds_up_its_own_sequence_only(
    core: BatchCore,
    machine: Machine,
    prompt: Prompt,
    sampling: Sampling,
) -> None:
    free = replace(prompt, grammar=None)
    endless = replace(sampling, stop_token_ids=frozenset())
    asked = [(prompt, replace(sampling, n=3)), (free, endless)]
    whole = Runs(core, asked).finish()
    runs = Runs(core, asked)
    while not all(runs.tokens[0, sequence] for sequence in range(3)) or not runs.tokens[1, 0]:
        runs.step()
    machine.stop()
    for _ in range(3):  # masks that were allowed before
        runs.step()
    for _ in range(30):
        assert runs.step() == {1}
    machine.go_on()
    assert runs.finish().tokens == whole.tokens


@pytest.mark.parametrize("seed", range(4))
def test_no_reply_depends_on_when_masks_are_ready(
    seed: int,
    core: BatchCore,
    machine: Machine,
    prompt: Prompt,
    sampling: Sampling,
    tokenizer: HfTokenizer,
) -> None:
    chance = random.Random(seed)
    budget = ThinkingBudget(9, tuple(tokenizer.encode("\n</think>\n\n")), "</think>")
    asked = [
        (prompt, replace(sampling, n=3, seed=seed)),
        (replace(prompt, cache_salt=b"other", priority=1), replace(sampling, seed=seed + 9)),
        (prompt, replace(sampling, seed=seed, top_logprobs=2)),
        (replace(prompt, grammar=None), replace(sampling, seed=seed, thinking_budget=budget)),
    ]
    whole = Runs(core, asked).finish()
    machine.stop()
    runs = Runs(core, asked)
    for _ in range(2_000):
        if not core.busy:
            break
        runs.step()
        if chance.random() < 0.6:
            machine.allowed.release(chance.choice([1, 1, 2, 5]))
    machine.go_on()
    assert runs.finish().tokens == whole.tokens
    assert not runs.failures


def test_a_request_may_go_while_its_mask_is_computed(
    core: BatchCore,
    machine: Machine,
    prompt: Prompt,
    sampling: Sampling,
) -> None:
    whole = Runs(core, [(prompt, sampling)]).finish()
    machine.stop()
    runs = Runs(core, [(prompt, replace(sampling, n=8))])
    for _ in range(20):
        runs.step()
    core.abort(0)
    assert core.gauges()["running"] == core.gauges()["blocks_used"] == 0
    machine.go_on()
    assert Runs(core, [(prompt, sampling)]).finish().tokens == whole.tokens


@pytest.mark.parametrize("n", [1, 8])
def test_a_request_whose_masks_cost_too_much_ends_with_an_error_of_its_own(
    n: int,
    core: BatchCore,
    machine: Machine,
    prompt: Prompt,
    sampling: Sampling,
) -> None:
    machine.mask_s = 0.5
    free = replace(prompt, grammar=None)
    endless = replace(sampling, stop_token_ids=frozenset())
    runs = Runs(core, [(prompt, replace(sampling, n=n)), (free, endless)]).finish()
    assert isinstance(runs.failures.pop(0), GrammarTooSlow)
    assert not runs.failures
    assert len(runs.tokens[1, 0]) == endless.max_tokens
    machine.mask_s = 0.001
    assert not Runs(core, [(prompt, replace(sampling, n=n))]).finish().failures
