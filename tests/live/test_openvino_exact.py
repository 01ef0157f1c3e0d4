"""With f32 kernels and an f32 cache, paging, batching, chunking and prefix reuse change nothing.

The reference is the same model run as it is stored: stateful, one sequence, the whole prompt at once.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import count

import numpy as np
import openvino as ov
import pytest
from tests.hosted import changed, core_of, model_xml

from tessera.core.generation import Prompt, Sampling, TokenChunk
from tessera.engine.batch.core import BatchCore
from tessera.engine.batch.drafts import Lookup
from tessera.engine.host.frames import Start
from tessera.engine.openvino.graph import PROPERTIES

pytestmark = pytest.mark.live

N_PROMPTS = 50
N_OUTPUT = 6
KV_CACHE_BYTES = 1 << 30
REQUESTS = count()
Reference = Callable[[int], list[tuple[int, ...]]]


def make_prompts() -> list[tuple[int, ...]]:
    """Prompts of ordinary token ids. Every third starts like an earlier one, for the prefix cache."""
    chance = random.Random(7)
    prompts: list[tuple[int, ...]] = []
    for index in range(N_PROMPTS):
        length = chance.choice([1, 5, 31, 32, 33, 64])
        tail = tuple(chance.randrange(1_000, 20_000) for _ in range(length))
        head = chance.choice(prompts)[:40] if index % 3 == 2 else ()
        prompts.append(head + tail)
    return prompts


PROMPTS = make_prompts()


@pytest.fixture(scope="module")
def reference(openvino_start: Start) -> Reference:
    """Greedy continuations of the first prompts by OpenVINO's stateful model, each computed once."""
    core = ov.Core()
    properties = {**PROPERTIES["f32"], "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(model_xml(openvino_start), "CPU", properties).create_infer_request()
    outputs: list[tuple[int, ...]] = []

    def first(n_prompts: int) -> list[tuple[int, ...]]:
        while len(outputs) < n_prompts:
            outputs.append(continued(request, PROMPTS[len(outputs)]))
        return outputs[:n_prompts]

    return first


def continued(request: ov.InferRequest, prompt: tuple[int, ...]) -> tuple[int, ...]:
    request.reset_state()
    tokens, new = list(prompt), list(prompt)
    for _ in range(N_OUTPUT):
        result = request.infer(
            {
                "input_ids": np.array([new], np.int64),
                "attention_mask": np.ones((1, len(tokens)), np.int64),
                "position_ids": np.arange(len(tokens) - len(new), len(tokens), dtype=np.int64)[None],
                "beam_idx": np.zeros(1, np.int32),
            }
        )
        new = [int(result[0][0, -1].argmax())]
        tokens += new
    return tuple(tokens[len(prompt) :])


def start(config: Start, step_tokens: int, kv_cache_bytes: int = KV_CACHE_BYTES) -> BatchCore:
    return core_of(changed(config, precision="f32", step_tokens=step_tokens, kv_cache_bytes=kv_cache_bytes))


@pytest.fixture(scope="module")
def core(openvino_start: Start) -> BatchCore:
    """An engine that cuts prompts at odd places."""
    return start(openvino_start, 101)


def generate(core: BatchCore, prompts: list[tuple[int, ...]], salt: bytes) -> dict[int, list[TokenChunk]]:
    """Generates greedily for all prompts at once; returns the chunks by the prompt's place in the list."""
    requests = {next(REQUESTS): index for index in range(len(prompts))}
    for request, index in requests.items():
        core.submit(request, Prompt(prompts[index], cache_salt=salt), Sampling(N_OUTPUT, temperature=0))
    chunks: dict[int, list[TokenChunk]] = {index: [] for index in requests.values()}
    while core.busy:
        for request, output in core.step():
            assert isinstance(output, TokenChunk), output
            chunks[requests[request]].append(output)
    return chunks


def tokens(chunks: list[TokenChunk]) -> tuple[int, ...]:
    assert [chunk.finish for chunk in chunks] == [None] * (len(chunks) - 1) + ["length"]
    return tuple(token for chunk in chunks for token in chunk.token_ids)


@pytest.mark.full
def test_alone(core: BatchCore, reference: Reference) -> None:
    for index, prompt in enumerate(PROMPTS):
        chunks = generate(core, [prompt], salt=str(index).encode())[0]
        assert tokens(chunks) == reference(N_PROMPTS)[index], index
        assert chunks[0].cached_tokens == 0


@pytest.mark.parametrize("n_prompts", [16, pytest.param(N_PROMPTS, marks=pytest.mark.full)])
def test_in_mixed_batches_with_and_without_prefix_hits(
    n_prompts: int, core: BatchCore, reference: Reference
) -> None:
    prompts, salt = PROMPTS[:n_prompts], str(n_prompts).encode()
    for attempt in ("cold", "warm"):
        all_chunks = generate(core, prompts, salt)
        assert [tokens(all_chunks[index]) for index in range(n_prompts)] == reference(n_prompts)
        cached = [all_chunks[index][0].cached_tokens for index in range(n_prompts)]
        if attempt == "warm":
            assert cached == [(len(prompt) - 1) // 32 * 32 for prompt in prompts]
        else:
            assert any(cached)
    assert core.gauges()["blocks_used"] == 0


@pytest.mark.full
@pytest.mark.parametrize("step_tokens", [32, 57, 256])
def test_under_other_chunkings(step_tokens: int, openvino_start: Start, reference: Reference) -> None:
    all_chunks = generate(start(openvino_start, step_tokens), PROMPTS, salt=b"")
    assert [tokens(all_chunks[index]) for index in range(N_PROMPTS)] == reference(N_PROMPTS)


@pytest.mark.full
def test_when_blocks_run_out(core: BatchCore, openvino_start: Start, reference: Reference) -> None:
    block_bytes = KV_CACHE_BYTES // core.gauges()["blocks_total"]
    small = start(openvino_start, 64, kv_cache_bytes=13 * block_bytes)
    all_chunks = generate(small, PROMPTS, salt=b"")
    assert [tokens(all_chunks[index]) for index in range(N_PROMPTS)] == reference(N_PROMPTS)


def test_sequences_of_one_request_share_the_prompt_and_differ_by_seed(core: BatchCore) -> None:
    sampling = Sampling(8, temperature=1.0, seed=5, n=4)
    for length in (40, 64):
        chunks: list[TokenChunk] = []
        core.submit(next(REQUESTS), Prompt(PROMPTS[6][:1] * length, cache_salt=b"n"), sampling)
        while core.busy:
            chunks += [output for _, output in core.step() if isinstance(output, TokenChunk)]
        by_sequence = [
            tuple(token for chunk in chunks if chunk.sequence == index for token in chunk.token_ids)
            for index in range(4)
        ]
        assert len(set(by_sequence)) > 1
        for index, expected in enumerate(by_sequence):
            core.submit(
                request := next(REQUESTS),
                Prompt(PROMPTS[6][:1] * length, cache_salt=b"n"),
                replace(sampling, n=1, seed=5 + index),
            )
            alone: list[int] = []
            while core.busy:
                alone += [
                    t
                    for r, c in core.step()
                    if r == request and isinstance(c, TokenChunk)
                    for t in c.token_ids
                ]
            assert tuple(alone) == expected
    assert core.gauges()["blocks_used"] == 0


SAMPLINGS = (
    Sampling(120, temperature=0, top_logprobs=2),
    Sampling(40, temperature=0.7, seed=3, top_p=0.9),
    Sampling(40, temperature=1.3, seed=4, top_k=20, n=2),
    Sampling(40, temperature=0.5, seed=5, min_p=0.05, frequency_penalty=0.1, repetition_penalty=1.05),
)


def no_draft(lookup: Lookup) -> list[int]:
    return []


def wild_draft(lookup: Lookup) -> list[int]:
    """Makes a draft in any case; its second half is random."""
    return [*PLAIN_DRAFT(lookup)[:3], *range(1_000, 1_004)]


PLAIN_DRAFT = Lookup.draft


TokenRecorder = dict[tuple[int, int], tuple[list[int], list[float]]]


def speak(core: BatchCore, n_requests: int, sampling: Sampling) -> tuple[TokenRecorder, int]:
    """Records the tokens and logprobs of every sequence of all requests; returns them with the number of
    chunks.
    """
    requests = [next(REQUESTS) for _ in range(n_requests)]
    for index, request in enumerate(requests):
        core.submit(request, Prompt(PROMPTS[index * 7 + 6][:9] * 6), sampling)
    spoken: TokenRecorder = {}
    n_chunks = 0
    while core.busy:
        for request, chunk in core.step():
            assert isinstance(chunk, TokenChunk), chunk
            token_ids, logprobs = spoken.setdefault((requests.index(request), chunk.sequence), ([], []))
            token_ids += chunk.token_ids
            logprobs += [each.logprob for each in chunk.logprobs]
            n_chunks += 1
    return spoken, n_chunks


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("n_requests", [1, 3])
def test_drafts_change_no_token_and_no_logprob(
    n_requests: int, sampling: Sampling, core: BatchCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lookup, "draft", no_draft)
    expected, n_expected = speak(core, n_requests, sampling)
    for draft in (PLAIN_DRAFT, wild_draft):
        monkeypatch.setattr(Lookup, "draft", draft)
        spoken, n_chunks = speak(core, n_requests, sampling)
        for sequence, (token_ids, logprobs) in expected.items():
            assert spoken[sequence][0] == token_ids
            assert spoken[sequence][1] == pytest.approx(logprobs, abs=1e-4)
        if draft is PLAIN_DRAFT and sampling.temperature == 0 and n_requests == 1:
            assert n_chunks < n_expected, "no guess was right"
    assert core.gauges()["blocks_used"] == 0
