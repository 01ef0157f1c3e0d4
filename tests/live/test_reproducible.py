"""A seeded request is answered alike whatever runs beside it, and whatever the prefix cache holds.

In f32 that holds without a seed, too. What makes it true is that a row of a pass does not depend on the
others unless it is alone: the last test shows that of the kernels, the others of whole replies.
"""

import random
from collections.abc import Iterator
from itertools import count

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.hosted import changed, core_of

from tessera.core.generation import Prompt, Sampling, TokenChunk
from tessera.engine.batch.blocks import BLOCK_TOKENS
from tessera.engine.batch.core import BatchCore
from tessera.engine.host.frames import Start
from tessera.engine.openvino.core import OpenVinoForward
from tessera.engine.openvino.graph import TokenSpan

pytestmark = pytest.mark.live

REQUESTS = count()
N_OUTPUT = 12


@pytest.fixture(scope="module", params=["auto", pytest.param("f32", marks=pytest.mark.full)])
def core(request: pytest.FixtureRequest, openvino_start: Start) -> BatchCore:
    """A core that cuts prompts into chunks, and whose cache is soon full."""
    return core_of(changed(openvino_start, precision=request.param, max_sequences=16))


def prompts(n: int, seed: int) -> list[tuple[int, ...]]:
    """Prompts of all lengths around blocks and chunks; some begin like others."""
    chance = random.Random(seed)
    made: list[tuple[int, ...]] = []
    for index in range(n):
        length = chance.choice([2, 3, 31, 32, 33, 34, 64, 65, 97, 129, 150])
        head = chance.choice(made)[: chance.choice([32, 40, 64])] if index % 3 == 2 else ()
        made.append(head + tuple(chance.randrange(1_000, 20_000) for _ in range(length)))
    return made


def sampling(index: int) -> Sampling:
    return Sampling(N_OUTPUT, temperature=1.0, seed=index, top_p=0.95, n=1 + index % 5 // 4)


Reply = list[tuple[int, ...]]


def finish(core: BatchCore, wanted: set[int]) -> dict[int, Reply]:
    """Steps until these requests have ended; returns the tokens of their sequences."""
    tokens: dict[int, dict[int, list[int]]] = {request: {} for request in wanted}
    while wanted & core._requests.keys():
        for request, chunk in core.step():
            assert isinstance(chunk, TokenChunk), chunk
            if request in wanted:
                tokens[request].setdefault(chunk.sequence, []).extend(chunk.token_ids)
    return {request: [tuple(each) for _, each in sorted(said.items())] for request, said in tokens.items()}


def ask(core: BatchCore, prompt: tuple[int, ...], salt: bytes, sampling: Sampling) -> int:
    request = next(REQUESTS)
    core.submit(request, Prompt(prompt, cache_salt=salt), sampling)
    return request


def alone(core: BatchCore, asked: list[tuple[int, ...]], salt: bytes, *, shared: bool) -> list[Reply]:
    replies: list[Reply] = []
    for index, prompt in enumerate(asked):
        request = ask(core, prompt, salt if shared else salt + bytes([index]), sampling(index))
        replies.append(finish(core, {request})[request])
    return replies


def noise(core: BatchCore, chance: random.Random, salt: bytes) -> int:
    """Submits a request without a seed; some have the prompts of the others."""
    length = chance.choice([1, 5, 40, 90, 200])
    prompt = tuple(chance.randrange(1_000, 20_000) for _ in range(length))
    return ask(core, prompt, salt, Sampling(chance.randint(1, 30), temperature=0.7, n=chance.choice([1, 2])))


def in_batches(core: BatchCore, asked: list[tuple[int, ...]], salt: bytes, seed: int) -> list[Reply]:
    """Generates for all in a random order, beside other requests that come, go, and are aborted."""
    chance = random.Random(seed)
    order = list(range(len(asked)))
    chance.shuffle(order)
    requests: dict[int, int] = {}
    others: list[int] = []
    tokens: dict[int, dict[int, list[int]]] = {}
    while order or set(requests) & core._requests.keys():
        for _ in range(chance.randint(0, 3) if order else 0):
            if order:
                index = order.pop()
                requests[ask(core, asked[index], salt, sampling(index))] = index
        if chance.random() < 0.15:
            others.append(noise(core, chance, salt))
        if others and chance.random() < 0.05:
            core.abort(others.pop(chance.randrange(len(others))))
        for request, chunk in core.step():
            if request in requests:
                assert isinstance(chunk, TokenChunk), chunk
                tokens.setdefault(request, {}).setdefault(chunk.sequence, []).extend(chunk.token_ids)
    for request in others:
        core.abort(request)
    replies: list[Reply] = [[]] * len(asked)
    for request, said in tokens.items():
        replies[requests[request]] = [tuple(each) for _, each in sorted(said.items())]
    return replies


def differing(one: list[Reply], other: list[Reply]) -> list[int]:
    return [index for index, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]


@pytest.mark.parametrize("n_requests", [5, pytest.param(200, marks=pytest.mark.full)])
def test_a_seeded_reply_depends_on_nothing_else(n_requests: int, core: BatchCore) -> None:
    asked = prompts(n_requests, seed=n_requests)
    cold = alone(core, asked, b"c%d" % n_requests, shared=False)
    assert len({str(reply) for reply in cold}) > n_requests * 0.9
    warming = alone(core, asked, b"w%d" % n_requests, shared=True)
    warm = alone(core, asked, b"w%d" % n_requests, shared=True)
    mixed = in_batches(core, asked, b"m%d" % n_requests, seed=1)
    again = in_batches(core, asked, b"w%d" % n_requests, seed=2)
    found = [differing(cold, other) for other in (warming, warm, mixed, again)]
    assert found == [[], [], [], []]


def test_what_an_unseeded_reply_left_in_the_cache_is_not_taken_unless_it_is_the_same(
    core: BatchCore,
) -> None:
    prompt = tuple(random.Random(4).randrange(1_000, 20_000) for _ in range(50))
    request = ask(core, prompt, b"u", Sampling(100, temperature=0))
    (said,) = finish(core, {request})[request]
    longer = prompt + said + (2_000,)
    request = ask(core, longer, b"u", sampling(0))
    after_it = finish(core, {request})[request]
    assert after_it == alone(core, [longer], b"fresh", shared=False)[0]
    assert after_it == alone(core, [longer], b"u", shared=True)[0]


def logits(core: BatchCore, spans: list[TokenSpan], row: int) -> NDArray[np.float32]:
    assert isinstance(core._forward, OpenVinoForward)
    core._forward.graph.start(spans)
    return core._forward.graph.logits()[row].copy()


def ways(tokens: list[int], blocks: range, free: range) -> Iterator[list[TokenSpan]]:
    """Passes that compute the last token as row 0, after the keys and values of the tokens before it."""
    for n_again in (1, 2, 7, 31, 40):
        n_past = len(tokens) - 1 - n_again
        mine = TokenSpan(tokens[n_past:], n_past, blocks, 1)
        yield [mine]
        for n_others in (1, 2, 7, 15, 33, 63):
            yield [mine, *(TokenSpan([5 + i], 0, [free[i % len(free)]], 1) for i in range(n_others))]
        yield [mine, TokenSpan(list(range(9, 73)), 0, free[:2], 0)]
        yield [mine, TokenSpan([8], 60, free[:2], 1), TokenSpan([7] * 20, 40, free[2:4], 1)]


def test_a_row_does_not_depend_on_the_others_to_the_last_bit(core: BatchCore) -> None:
    for n_tokens in (61, 150):
        tokens = [random.Random(n_tokens).randrange(1_000, 20_000) for _ in range(n_tokens)]
        n_blocks = -(-n_tokens // BLOCK_TOKENS)
        blocks, free = range(n_blocks), range(n_blocks, n_blocks + 20)
        expected = logits(core, [TokenSpan(tokens, 0, blocks, 1)], 0)
        for spans in ways(tokens, blocks, free):
            assert np.array_equal(logits(core, spans, 0), expected), [len(each.token_ids) for each in spans]
