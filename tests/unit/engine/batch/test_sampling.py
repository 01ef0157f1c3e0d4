import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.strategies import examples

from tessera.core.generation import Sampling
from tessera.engine.batch.sampling import Sampler
from tessera.errors import GenerationFailed

# A cut whose cumulative mass comes this close to top_p, or a draw this close to the edge of a token, may go
# either way by rounding.
ROUNDING = 1e-5


class Borderline(Exception):
    """Raised where rounding decides, so that either answer is right."""


def certain(clear: bool) -> None:
    if not clear:
        raise Borderline


def bits(allowed: Sequence[bool] | NDArray[np.bool_]) -> NDArray[np.uint32]:
    """A mask as llguidance writes it."""
    packed = np.packbits(np.asarray(allowed, bool), bitorder="little")
    return np.pad(packed, (0, -packed.size % 4)).view(np.uint32)


def adjusted(
    logits: NDArray[np.float32],
    sampling: Sampling,
    prompt: Sequence[int],
    output: Sequence[int],
    allowed: Sequence[bool] | None,
) -> list[float]:
    """The scores after bias, penalties and mask, token by token."""
    scores = [float(x) for x in logits]
    counts = Counter(output)
    for id in range(len(scores)):
        scores[id] += sampling.logit_bias.get(id, 0.0)
        if id in counts or id in prompt:
            positive = scores[id] > 0
            scores[id] *= 1 / sampling.repetition_penalty if positive else sampling.repetition_penalty
        scores[id] -= sampling.frequency_penalty * counts[id]
        scores[id] -= sampling.presence_penalty * (counts[id] > 0)
        if allowed is not None and not allowed[id]:
            scores[id] = -math.inf
    return scores


def distribution(scores: Sequence[float], sampling: Sampling) -> dict[int, float]:
    """The probabilities of the tokens that may be drawn, by the definition of each cut."""
    ranked = sorted((id for id, s in enumerate(scores) if s > -math.inf), key=lambda id: (-scores[id], id))
    if sampling.temperature == 0:
        if sampling.repetition_penalty != 1 and len(ranked) > 1:  # a tie may be one of rounding
            certain(abs(scores[ranked[0]] - scores[ranked[1]]) > ROUNDING)
        return {ranked[0]: 1.0}
    if sampling.top_k:
        ranked = ranked[: sampling.top_k]
    best = scores[ranked[0]]
    weights = {id: math.exp((scores[id] - best) / sampling.temperature) for id in ranked}
    total = math.fsum(weights.values())
    kept: list[int] = []
    mass = 0.0
    for id in ranked:
        if sampling.top_p < 1:
            certain(abs(mass - sampling.top_p * total) > ROUNDING * total)
            if mass >= sampling.top_p * total:
                break
        kept.append(id)
        mass += weights[id]
    if sampling.min_p:
        certain(all(abs(weights[id] - sampling.min_p) > ROUNDING for id in kept))
        kept = [id for id in kept if weights[id] >= sampling.min_p]
    total = math.fsum(weights[id] for id in kept)
    return {id: weights[id] / total for id in sorted(kept)}


def draw(probabilities: dict[int, float], uniform: float) -> int:
    """Draws by the inverse of the cumulative distribution, in the order of ids."""
    mass = 0.0
    for id, probability in probabilities.items():
        mass += probability
        certain(abs(mass - uniform) > ROUNDING)
        if uniform < mass:
            return id
    return max(probabilities)


@st.composite
def logit_rows(draw: st.DrawFn) -> NDArray[np.float32]:
    """Small rows with ties and of odd and even sizes, and large rows from a seed."""
    small = st.lists(st.integers(-24, 24).map(lambda x: x / 4), min_size=1, max_size=70)
    values = draw(st.one_of(small, st.integers(0, 2**32 - 1)))
    if isinstance(values, list):
        return np.asarray(values, np.float32)
    random = np.random.default_rng(values)
    size = draw(st.sampled_from([513, 4096, 5000]))
    return np.round(random.gumbel(size=size) * 3, draw(st.sampled_from([1, 4]))).astype(np.float32)


@st.composite
def samplings(draw: st.DrawFn) -> Sampling:
    return Sampling(
        max_tokens=100,
        temperature=draw(st.sampled_from([0.0, 0.3, 0.7, 1.0, 2.0])),
        top_p=draw(st.sampled_from([1.0, 0.95, 0.8, 0.31, 0.01])),
        top_k=draw(st.sampled_from([0, 1, 3, 20, 300])),
        min_p=draw(st.sampled_from([0.0, 0.0, 0.0511, 0.6])),
        presence_penalty=draw(st.sampled_from([0.0, 1.5, -2.0])),
        frequency_penalty=draw(st.sampled_from([0.0, 0.25, -0.5])),
        repetition_penalty=draw(st.sampled_from([1.0, 1.25, 0.5])),
        logit_bias=draw(
            st.dictionaries(st.integers(0, 60), st.sampled_from([-100.0, -1.5, 2.0]), max_size=3)
        ),
        seed=draw(st.integers(-5, 2**63)),
    )


@examples(150)
@given(logits=logit_rows(), sampling=samplings(), data=st.data())
def test_sample_equals_the_plain_definition(
    logits: NDArray[np.float32], sampling: Sampling, data: st.DataObject
) -> None:
    ids = st.integers(0, len(logits) - 1)
    prompt = data.draw(st.lists(ids, max_size=5))
    output = data.draw(st.lists(ids, max_size=8))
    allowed = None
    if data.draw(st.booleans()):
        keep = data.draw(st.sampled_from([0.02, 0.5, 0.98]))
        allowed = list(np.random.default_rng(len(output)).random(len(logits)) < keep)
        allowed[data.draw(ids)] = True
    sequence = data.draw(st.integers(0, 3))
    sampler = Sampler(sampling, sequence, prompt, len(logits))
    for id in output:
        sampler.accept(id)
    random = np.random.Generator(np.random.PCG64(((sampling.seed or 0) + sequence) % 2**64))
    uniform = [random.random() for _ in range(len(output) + 1)][-1]
    before = logits.copy()

    sampled = sampler.sample(logits, None if allowed is None else bits(allowed))

    scores = adjusted(logits, sampling, prompt, output, allowed)
    assert (logits == before).all()
    try:
        expected = draw(distribution([float(np.float32(s)) for s in scores], sampling), uniform)
    except Borderline:
        reject()
    assert sampled == expected


def test_greedy_when_scores_tie_takes_the_lowest_id() -> None:
    row = np.asarray([0, 2, 1, 2, 2], np.float32)
    assert Sampler(Sampling(1, temperature=0), 0, (), 5).sample(row) == 1


def test_a_tie_at_the_edge_of_top_k_and_top_p_keeps_the_lower_ids() -> None:
    row = np.zeros(6000, np.float32)
    for sampling in (Sampling(1, top_k=7), Sampling(1, top_p=6.5 / 6000)):
        drawn = {Sampler(sampling, i, (), 6000).sample(row) for i in range(300)}
        assert drawn == set(range(7))


@pytest.mark.slow
@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(1, temperature=0.7, top_p=0.8, top_k=20, presence_penalty=1.5),
        Sampling(1),
        Sampling(1, top_p=0.9),
        Sampling(1, min_p=0.05),
    ],
    ids=["direct", "plain", "top_p", "min_p"],
)
def test_draws_follow_the_distribution(sampling: Sampling) -> None:
    row = (np.random.default_rng(3).gumbel(size=5000) * 2).astype(np.float32)
    expected = distribution([float(x) for x in row], sampling)
    n = 5000
    drawn = Counter(Sampler(replace(sampling, seed=i), 0, (), 5000).sample(row) for i in range(n))
    assert set(drawn) <= set(expected)
    # Pearson's chi-square over the tokens expected often enough, the rest taken together.
    common = {id: p for id, p in expected.items() if p * n >= 10}
    rest = 1 - sum(common.values())
    cells = [(drawn[id], p * n) for id, p in common.items()]
    if rest * n >= 10:
        cells.append((n - sum(count for count, _ in cells), rest * n))
    degrees = len(cells) - 1
    statistic = sum((count - mean) ** 2 / mean for count, mean in cells)
    assert statistic < degrees + 4 * math.sqrt(2 * degrees)


def test_the_same_seed_gives_the_same_tokens_and_sequences_differ() -> None:
    rows = np.random.default_rng(0).normal(size=(40, 500)).astype(np.float32)

    def tokens(seed: int | None, sequence: int) -> list[int]:
        sampler = Sampler(Sampling(40, seed=seed), sequence, (1, 2), 500)
        out: list[int] = []
        for row in rows:
            out.append(sampler.sample(row))
            sampler.accept(out[-1])
        return out

    assert tokens(7, 0) == tokens(7, 0)
    assert tokens(7, 1) == tokens(8, 0)
    assert len({tuple(tokens(7, i)) for i in range(4)}) == 4
    assert tokens(None, 0) != tokens(None, 0)


def test_a_forced_token_does_not_shift_the_draws_that_follow() -> None:
    row = np.zeros(1000, np.float32)
    sampled, forced = (Sampler(Sampling(9, seed=1), 0, (), 1000) for _ in range(2))
    sampled.accept(sampled.sample(row))
    forced.accept(5)
    assert sampled.sample(row) == forced.sample(row)


@pytest.mark.parametrize("size", [64, 100, 5000])
@pytest.mark.parametrize(
    "sampling", [Sampling(1, temperature=0), Sampling(1), Sampling(1, top_k=50, top_p=0.9)]
)
def test_only_what_the_mask_allows_is_ever_sampled(size: int, sampling: Sampling) -> None:
    random = np.random.default_rng(size)
    for i in range(30):
        row = random.normal(size=size).astype(np.float32)
        allowed = random.random(size) < 3 / size
        allowed[random.integers(size)] = True
        assert allowed[Sampler(sampling, i, (), size).sample(row, bits(allowed))]


def test_tokens_beyond_the_mask_are_not_allowed() -> None:
    row = np.asarray([0.0] * 32 + [9.0] * 8, np.float32)
    assert Sampler(Sampling(1, temperature=0), 0, (), 40).sample(row, np.asarray([0b100], np.uint32)) == 2


def test_a_mask_that_allows_nothing_fails_the_generation() -> None:
    sampler = Sampler(Sampling(1), 0, (), 64)
    with pytest.raises(GenerationFailed):
        sampler.sample(np.zeros(64, np.float32), np.zeros(2, np.uint32))
    with pytest.raises(GenerationFailed):
        sampler.sample(np.full(64, np.nan, np.float32))


def test_an_extreme_temperature_or_logit_overflows_nothing() -> None:
    row = np.asarray([-3e38, 5.0, 4.0, -np.inf], np.float32)
    assert Sampler(Sampling(1, temperature=1e-5), 0, (), 4).sample(row) == 1
    assert Sampler(Sampling(1, temperature=1e-300), 0, (), 4).sample(row) == 1


def test_penalties_keep_counting_beyond_the_first_buffer() -> None:
    sampler = Sampler(Sampling(9999, temperature=0, frequency_penalty=1.0), 0, (), 2000)
    row = np.zeros(2000, np.float32)
    for i in range(2000):
        token = sampler.sample(row)
        assert token == i
        sampler.accept(token)
    assert sampler.sample(row) == 0


@examples(60)
@given(logits=logit_rows(), k=st.integers(0, 20), data=st.data())
def test_logprobs_are_the_log_softmax_of_the_row(
    logits: NDArray[np.float32], k: int, data: st.DataObject
) -> None:
    token = data.draw(st.integers(0, len(logits) - 1))
    sampling = Sampling(1, temperature=0.2, top_k=1, logit_bias={0: -100}, top_logprobs=k)
    wide = logits.astype(np.float64)
    exact = wide - wide.max() - math.log(np.exp(wide - wide.max()).sum())

    got = Sampler(sampling, 0, (token,), len(logits)).logprob(logits, token)

    assert got.token_id == token
    assert got.logprob == pytest.approx(exact[token], abs=1e-6)
    ranked = sorted(range(len(logits)), key=lambda id: (-logits[id], id))[:k]
    assert [id for id, _ in got.top] == ranked
    assert [p for _, p in got.top] == pytest.approx([exact[id] for id in ranked], abs=1e-6)
    assert sum(math.exp(p) for _, p in got.top) <= 1 + 1e-6


@pytest.mark.parametrize("repetition", [0.01, 1.0, 2.0])
@pytest.mark.parametrize("presence", [-2.0, 2.0])
@pytest.mark.parametrize("bias", [-100.0, 100.0])
@pytest.mark.parametrize("temperature", [0.0, 1e-9, 2.0])
def test_what_a_request_may_ask_for_leaves_scores_that_can_be_used(
    repetition: float, presence: float, bias: float, temperature: float
) -> None:
    """At the edges of what `wire.request` takes, with logits beyond those of any model."""
    sampling = Sampling(
        1,
        temperature=temperature,
        presence_penalty=presence,
        frequency_penalty=presence,
        repetition_penalty=repetition,
        logit_bias=dict.fromkeys(range(8), bias),
    )
    for largest in (1e-30, 1.0, 1e6):
        row = np.linspace(-largest, largest, 64, dtype=np.float32)
        for allowed in ([True] * 64, [i == 3 for i in range(64)]):
            sampler = Sampler(sampling, 0, range(64), 64)
            for id in (*range(64), *[3] * 1000):
                sampler.accept(id)
            assert allowed[sampler.sample(row, bits(allowed))]
