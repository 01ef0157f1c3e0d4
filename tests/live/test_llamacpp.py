"""The llama.cpp engine on random models of several architectures, against llama.cpp itself.

The reference is a loop over `llama_decode` in the same library: one sequence, the whole prompt at once, then
a token at a time; of mixtures of experts beside another row, since a single one rounds otherwise. An exact
engine gives its tokens in every case. Otherwise kernels round as other tokens of
the pass have it, which random weights answer with other tokens; what is promised then is tested with few
rows, where they do not.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import count
from pathlib import Path

import pytest
from tests.hosted import changed, llama_core_of, tiny_llama_start
from tests.tiny_architectures import ARCHITECTURES, HYBRID, MIXTURES, WINDOWED, Architecture

from tessera.core.generation import Prompt, Sampling, TokenChunk
from tessera.engine.batch.core import BatchCore
from tessera.engine.batch.drafts import Lookup
from tessera.engine.host.frames import Start
from tessera.engine.llamacpp.context import Context, ContextParams, LlamaModel, Span
from tessera.engine.llamacpp.exact import run_exactly
from tessera.engine.llamacpp.forward import LlamaForward
from tessera.engine.llamacpp.library import open_library
from tessera.errors import GenerationFailed, StartupError, TesseraError

pytestmark = pytest.mark.live

REQUESTS = count()
N_OUTPUT = 12
MIB = 2**20

Reference = Callable[[tuple[int, ...]], list[int]]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def architecture(request: pytest.FixtureRequest) -> Architecture:
    return request.param


@pytest.fixture(scope="module")
def start(architecture: Architecture, tmp_path_factory: pytest.TempPathFactory) -> Start:
    return tiny_llama_start(tmp_path_factory.mktemp(architecture), architecture)


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory: pytest.TempPathFactory) -> Start:
    return tiny_llama_start(tmp_path_factory.mktemp("hybrid"), "qwen35moe")


@pytest.fixture(scope="module")
def reference(start: Start, architecture: Architecture) -> Reference:
    return reference_of(start, alone=architecture not in MIXTURES)


def reference_of(start: Start, *, alone: bool) -> Reference:
    _, api = open_library(None)
    model = LlamaModel(api, [Path(path) for path in paths_of(start)], {})
    context = Context(model, ContextParams(2048, 2, 1024, 63, 2, threads=1, kv_type="f16", exact=True))

    @cache
    def continued(prompt: tuple[int, ...]) -> list[int]:
        context.remove(0)
        tokens, new = list(prompt), list(prompt)
        for _ in range(N_OUTPUT):
            spans = [Span(0, len(tokens) - len(new), new, 1)]
            row = (context.run(spans) if alone else run_exactly(context, spans, 1))[0]
            new = [int(row.argmax())]
            tokens += new
        return tokens[len(prompt) :]

    return continued


def paths_of(start: Start) -> list[str]:
    paths = start.options["ggufs"]
    assert isinstance(paths, list)
    return paths


def prompts(n: int, seed: int = 7) -> list[tuple[int, ...]]:
    """Prompts of all lengths around blocks and chunks; every third starts like an earlier one."""
    chance = random.Random(seed)
    made: list[tuple[int, ...]] = []
    for index in range(n):
        length = chance.choice([1, 5, 31, 32, 33, 64, 100])
        head = chance.choice(made)[: chance.choice([32, 40, 70])] if index % 3 == 2 else ()
        made.append(head + tuple(chance.randrange(10, 260) for _ in range(length)))
    return made


def ask(core: BatchCore, prompt: tuple[int, ...], salt: bytes = b"", **sampling: int | float) -> int:
    request = next(REQUESTS)
    wanted = replace(Sampling(N_OUTPUT, temperature=0), **sampling)  # pyright: ignore[reportArgumentType]
    core.submit(request, Prompt(prompt, cache_salt=salt), wanted)
    return request


Chunks = dict[int, list[TokenChunk]]


def run(core: BatchCore) -> Chunks:
    chunks: Chunks = {}
    while core._requests:
        for request, chunk in core.step():
            assert isinstance(chunk, TokenChunk), chunk
            chunks.setdefault(request, []).append(chunk)
    assert core.gauges()["blocks_used"] == 0
    return chunks


def tokens(chunks: list[TokenChunk], sequence: int = 0) -> list[int]:
    return [token for chunk in chunks if chunk.sequence == sequence for token in chunk.token_ids]


def say(core: BatchCore, asked: list[tuple[int, ...]], salt: bytes = b"") -> list[list[int]]:
    """Generates for all prompts at once; returns the tokens of each."""
    requests = [ask(core, prompt, salt) for prompt in asked]
    chunks = run(core)
    return [tokens(chunks[request]) for request in requests]


@pytest.mark.parametrize("step_tokens", [32, 57, 256])
def test_an_exact_engine_says_what_llama_cpp_says(
    step_tokens: int, start: Start, reference: Reference
) -> None:
    core = llama_core_of(changed(start, exact=True, step_tokens=step_tokens))
    asked = prompts(14)
    assert say(core, asked) == [reference(prompt) for prompt in asked]


def test_one_at_a_time_it_is_exact_too_and_prefixes_are_reused(
    start: Start, architecture: Architecture
) -> None:
    reference = reference_of(start, alone=True)
    core = llama_core_of(changed(start, step_tokens=32))
    prompt = prompts(1, seed=3)[0] + tuple(range(20, 170))
    cached: list[int] = []
    for asked in (prompt, prompt, (*prompt, 30, 31, 32), prompt[:100] + prompt[:50]):
        request = ask(core, asked)
        chunks = run(core)[request]
        assert tokens(chunks) == reference(asked)
        cached.append(chunks[0].cached_tokens)
    whole = (len(prompt) - 1) // 32 * 32
    near = (len(prompt) - 16) // 32 * 32
    if architecture in HYBRID:
        assert cached == [0, near, near, 0]
    else:
        assert cached == [0, whole, whole, 96]


@pytest.mark.parametrize("architecture", WINDOWED, scope="module", indirect=True)
def test_prefixes_of_models_with_windows_outlast_what_comes_between(start: Start) -> None:
    reference = reference_of(start, alone=True)
    core = llama_core_of(changed(start, step_tokens=32, kv_cache_bytes=2 * MIB))
    first = tuple(range(20, 250))
    say(core, [first])
    for _ in range(8):  # llama.cpp goes through all cells twice, but no block is full
        say(core, [tuple(range(30 + i, 45 + i)) for i in range(8)])
    for length in (110, 180):
        request = ask(core, asked := (*first[:length], 30, 31))
        chunks = run(core)[request]
        assert chunks[0].cached_tokens == length // 32 * 32
        assert tokens(chunks) == reference(asked)


def test_accounts_share_nothing(start: Start) -> None:
    core = llama_core_of(start)
    for salt, shares in ((b"a", False), (b"b", False), (b"a", True)):
        request = ask(core, tuple(range(20, 170)), salt)
        assert (run(core)[request][0].cached_tokens > 0) == shares


def test_sequences_that_are_preempted_say_the_same(start: Start, reference: Reference) -> None:
    asked = [tuple(range(20 + i, 90 + i)) for i in range(6)]
    forward_cells = 768  # all of them need 6 * 96
    core = llama_core_of(changed(start, exact=True, max_sequences=2, kv_cache_bytes=64 * MIB))
    small = llama_core_of(changed(start, kv_cache_bytes=cell_bytes(core) * forward_cells))
    assert small.gauges()["blocks_total"] == forward_cells // 32
    said = say(core, asked)
    assert said == [reference(prompt) for prompt in asked]
    n_preempted = 0
    requests = [ask(small, prompt, max_tokens=100) for prompt in asked]
    chunks: Chunks = {}
    while small._requests:
        before = [*small._scheduler.running]
        for request, chunk in small.step():
            assert isinstance(chunk, TokenChunk), chunk
            chunks.setdefault(request, []).append(chunk)
        n_preempted += sum(each in small._scheduler.waiting for each in before)
    assert n_preempted
    assert [len(tokens(chunks[request])) for request in requests] == [100] * 6


def cell_bytes(core: BatchCore) -> int:
    assert isinstance(core._forward, LlamaForward)
    return core._forward.block_bytes // 32


def test_siblings_say_what_each_would_alone(start: Start) -> None:
    core = llama_core_of(changed(start, exact=True))
    prompt = tuple(range(20, 70))
    request = ask(core, prompt, temperature=1.0, seed=5, n=3)
    together = run(core)[request]
    for index in range(3):
        request = ask(core, prompt, temperature=1.0, seed=5 + index)
        assert tokens(run(core)[request]) == tokens(together, index)


def test_what_is_aborted_leaves_nothing_behind(start: Start, reference: Reference) -> None:
    core = llama_core_of(changed(start, step_tokens=32, max_sequences=2, exact=True))
    chance = random.Random(4)
    for n_steps in (0, 1, 2, 5, 9):
        requests = [ask(core, prompt, max_tokens=300) for prompt in prompts(3, seed=n_steps)]
        for _ in range(n_steps):
            core.step()
        chance.shuffle(requests)
        for request in requests:
            core.abort(request)
        assert core.gauges()["blocks_used"] == 0
    (prompt,) = prompts(1, seed=9)
    assert say(core, [prompt]) == [reference(prompt)]


def wild(lookup: Lookup) -> list[int]:
    """Makes a draft in any case; half of it is random."""
    return [*PLAIN(lookup)[:3], *range(10, 14)]


PLAIN = Lookup.draft


def test_drafts_that_are_wrong_are_taken_back(
    start: Start, reference: Reference, architecture: Architecture, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = llama_core_of(start)
    assert (core._forward.draft_cost == float("inf")) == (architecture in HYBRID)
    monkeypatch.setattr(Lookup, "draft", wild)
    for prompt in prompts(3, seed=11):
        assert say(core, [prompt]) == [reference(prompt)]


def test_a_budget_that_does_not_do_is_refused_with_one_that_does(hybrid: Start) -> None:
    with pytest.raises(StartupError, match=r"state_bytes is too small\. Set it to \d+M or more"):
        llama_core_of(changed(hybrid, state_bytes=100_000))
    with pytest.raises(StartupError, match=r"kv_cache_bytes holds 0 tokens .* Set it to \d+M or more"):
        llama_core_of(changed(hybrid, kv_cache_bytes=1_000))


def test_a_hybrid_model_runs_as_many_as_it_has_states_for(
    hybrid: Start, caplog: pytest.LogCaptureFixture
) -> None:
    core = llama_core_of(changed(hybrid, max_sequences=64))
    assert core.info.max_sequences == 64
    assert "max_sequences" not in caplog.text
    assert isinstance(core._forward, LlamaForward)
    n_lanes, n_empty, n_seats = 8, 1, 5
    budget = core._forward.state_bytes * 2 * (n_lanes + n_empty + n_seats)
    few = llama_core_of(changed(hybrid, max_sequences=64, state_bytes=budget))
    assert few.info.max_sequences == n_seats
    assert "at most 5 sequences run at once, fewer than the 64 of max_sequences" in caplog.text
    asked = [tuple(range(20 + i, 50 + i)) for i in range(12)]
    assert all(len(said) == N_OUTPUT for said in say(few, asked))


@pytest.fixture(scope="module", autouse=True)
def library() -> None:
    try:
        open_library(None)
    except StartupError as error:
        pytest.skip(str(error))


def test_a_pass_that_llama_cpp_refuses_ends_only_the_request_that_it_refuses(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    core = llama_core_of(tiny_llama_start(tmp_path, "gpt-oss"))
    broken, other = ask(core, prompts(3)[0]), ask(core, prompts(3)[1])
    outputs: dict[int, list[TokenChunk | TesseraError]] = {broken: [], other: []}
    for step in range(200):
        for request, output in core.step():
            outputs[request].append(output)
        if step == 3:
            (sequence,) = core._requests[broken]
            forward = core._forward
            assert isinstance(forward, LlamaForward)
            # As if cells had been lost: the positions that follow have none before them.
            forward.context.remove(forward._seats.enter(sequence), 0)
            forward.context.run([Span(forward._seats.enter(sequence), 0, [5], 0)])
    failure = outputs[broken][-1]
    assert isinstance(failure, GenerationFailed)
    assert "llama_decode returned -1: it refused the positions or the tokens" in failure.message
    assert "llama_decode returned -1" in caplog.text
    assert (
        len([token for each in outputs[other] if isinstance(each, TokenChunk) for token in each.token_ids])
        == N_OUTPUT
    )
    assert core.gauges()["blocks_used"] == 0
