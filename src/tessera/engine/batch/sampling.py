"""Exact, seeded sampling on one row of logits.

The order is fixed: mask and logit bias, repetition penalty, frequency and presence penalties, then either the
best token (temperature 0) or temperature, top_k, top_p over what top_k left, min_p, and one draw by the
inverse of the cumulative distribution in the order of ids. Equal scores go to the lower id.

A step has a few hundred microseconds for all its rows, so a row is cut to the tokens that can matter before
anything is sorted: one pass over the vocabulary finds a bound, and only what lies above it is looked at.
Every cut is exact. float32 [vocabulary] comes in; sums are taken in float64.
"""

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tessera.core.generation import Sampling, TokenLogprob
from tessera.errors import GenerationFailed

_Floats: TypeAlias = NDArray[np.float32] | NDArray[np.float64]
_Ids: TypeAlias = NDArray[np.int64]

# Dividing by less than this overflows float32; the distribution is a single token well before.
_GREEDY_BELOW = 1e-5
_COLUMNS = 1024
_BLOCK = 512
_FEW = 256
_LOWEST = float(np.finfo(np.float32).min)

# What the eight bits of a mask's byte add to the scores of their tokens: 0 where set, -inf where not.
_BARRIER = np.where(
    np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little") == 1,
    np.float32(0),
    np.float32(-np.inf),
)


class Sampler:
    """Chooses the tokens of one sequence: `sample` at a position, then `accept` what was chosen there.

    The random number of a position depends on the seed, the sequence and the position alone; tokens that are
    forced, and only accepted, do not shift those of later positions.
    """

    def __init__(
        self, sampling: Sampling, sequence: int, prompt_token_ids: Sequence[int], vocabulary_size: int
    ) -> None:
        """Sequence i of a request is seeded with `sampling.seed` + i; a seed of None is a random one."""
        seed = None if sampling.seed is None else (sampling.seed + sequence) % 2**64
        self._sampling = sampling
        self._random = np.random.Generator(np.random.PCG64(seed))
        self._uniform = self._random.random()
        bias = {id: value for id, value in sampling.logit_bias.items() if 0 <= id < vocabulary_size}
        self._bias_ids = np.fromiter(bias.keys(), np.int64, len(bias))
        self._bias = np.fromiter(bias.values(), np.float32, len(bias))
        repetition = sampling.repetition_penalty != 1
        self._penalised = repetition or sampling.frequency_penalty != 0 or sampling.presence_penalty != 0
        self._seen = _Seen(prompt_token_ids if repetition else ())

    def sample(self, logits: NDArray[np.float32], mask: NDArray[np.uint32] | None = None) -> int:
        """The token for the current position. `logits` [vocabulary] are changed, and then put back.

        `mask` has one bit per token, lowest bit first, set where the token is allowed; tokens beyond its end
        are not. Raises `GenerationFailed` if it allows none, or if the best score is not a finite number.
        """
        scores = logits if mask is None else _masked(logits, mask)
        # A copy of a large row would take longer than all the rest.
        touched = np.concatenate([self._bias_ids, self._seen.ids]) if self._penalised else self._bias_ids
        before = scores[touched]
        try:
            self._adjust(scores)
            return self._choose(scores)
        finally:
            scores[touched] = before

    def _choose(self, scores: NDArray[np.float32]) -> int:
        sampling = self._sampling
        values: _Floats = scores
        with np.errstate(over="ignore"):
            best = int(scores.argmax())
            top = float(scores[best])
            if not math.isfinite(top):
                raise GenerationFailed("The model gave no usable score to any token allowed here.")
            if sampling.temperature < _GREEDY_BELOW:
                return best
            ids: _Ids | None = None
            if 0 < sampling.top_k < scores.size:
                ids = _largest(scores, sampling.top_k)
                values = scores[ids].astype(np.float64)
            weights = _weights(values, top, sampling.temperature)
        if sampling.top_p < 1:
            kept = _nucleus(weights, sampling.top_p)
            ids, weights = kept if ids is None else ids[kept], weights[kept]
        if sampling.min_p > 0:
            kept = np.flatnonzero(weights >= sampling.min_p)
            ids, weights = kept if ids is None else ids[kept], weights[kept]
        drawn = _draw(weights, self._uniform)
        return drawn if ids is None else int(ids[drawn])

    def accept(self, token_id: int) -> None:
        """Goes on to the next position: this token, sampled or forced, is part of the output."""
        self._uniform = self._random.random()
        if self._penalised:
            self._seen.count(token_id)

    def logprob(self, logits: NDArray[np.float32], token_id: int) -> TokenLogprob:
        """How likely the model found the token, and its best alternatives, before any adjustment."""
        top = logits.max()
        normaliser = float(top) + math.log(float(np.exp(logits - top, dtype=np.float64).sum()))
        alternatives: tuple[tuple[int, float], ...] = ()
        if self._sampling.top_logprobs:
            ids = _largest(logits, self._sampling.top_logprobs)
            ids = ids[np.argsort(-logits[ids], kind="stable")]
            alternatives = tuple((int(id), float(logits[id]) - normaliser) for id in ids)
        return TokenLogprob(token_id, float(logits[token_id]) - normaliser, alternatives)

    def _adjust(self, scores: NDArray[np.float32]) -> None:
        """Applies bias and penalties, in place."""
        scores[self._bias_ids] += self._bias
        if self._penalised:
            sampling, ids, counts = self._sampling, self._seen.ids, self._seen.counts
            values = scores[ids]
            if sampling.repetition_penalty != 1:
                penalty = np.float32(sampling.repetition_penalty)
                values = np.where(values > 0, values / penalty, values * penalty)
            values -= np.float32(sampling.frequency_penalty) * counts
            values -= np.float32(sampling.presence_penalty) * (counts > 0)
            scores[ids] = values


class _Seen:
    """The ids that penalties touch, each with its number of occurrences in the output."""

    def __init__(self, prompt_token_ids: Sequence[int]) -> None:
        unique = np.unique(np.asarray(prompt_token_ids, np.int64))
        self._slots = {int(id): slot for slot, id in enumerate(unique)}
        self._ids = np.concatenate([unique, np.zeros(256, np.int64)])
        self._counts = np.zeros(self._ids.size, np.float32)

    @property
    def ids(self) -> _Ids:
        return self._ids[: len(self._slots)]

    @property
    def counts(self) -> NDArray[np.float32]:
        return self._counts[: len(self._slots)]

    def count(self, token_id: int) -> None:
        slot = self._slots.setdefault(token_id, len(self._slots))
        if slot == self._ids.size:
            self._ids = np.concatenate([self._ids, np.zeros_like(self._ids)])
            self._counts = np.concatenate([self._counts, np.zeros_like(self._counts)])
        self._ids[slot] = token_id
        self._counts[slot] += 1


def _masked(logits: NDArray[np.float32], mask: NDArray[np.uint32]) -> NDArray[np.float32]:
    """A copy of the logits with -inf where the mask has no bit."""
    barrier = _BARRIER.take(mask.astype("<u4", copy=False).view(np.uint8), axis=0).reshape(-1)
    scores = barrier[: logits.size]
    if scores.size < logits.size:
        scores = np.concatenate([scores, np.full(logits.size - scores.size, -np.inf, np.float32)])
    scores += logits
    return scores


def _weights(scores: _Floats, top: float, temperature: float) -> _Floats:
    """exp((score - top) / temperature): the weight of the best token is 1. One buffer; rows are large."""
    weights = scores - scores.dtype.type(top)
    weights *= weights.dtype.type(1 / temperature)
    return np.exp(weights, out=weights)


def _largest(scores: NDArray[np.float32], n: int) -> _Ids:
    """The ids of the n best scores, ascending; fewer if fewer are finite.

    Of the maxima of 1,024 columns, the n-th is a score that n tokens reach: a bound found in one fast pass.
    Only columns whose maximum reaches it are looked at again.
    """
    if 4 * n <= _COLUMNS and scores.size >= 4 * _COLUMNS:
        table = scores[: scores.size // _COLUMNS * _COLUMNS].reshape(-1, _COLUMNS)
        columns = table.max(axis=0)
        bound = np.float32(max(_LOWEST, float(np.partition(columns, -n)[-n])))
        reaching = np.flatnonzero(columns >= bound)
        rows, places = np.nonzero(table[:, reaching] >= bound)
        rest = np.flatnonzero(scores[table.size :] >= bound) + table.size
        ids = np.concatenate([rows * _COLUMNS + reaching[places], rest])
    else:
        ids = np.flatnonzero(scores >= np.float32(_LOWEST))
    if ids.size <= n:
        return ids
    values = scores[ids]
    return ids[_first(values, float(np.partition(values, -n)[-n]), n)]


def _nucleus(weights: _Floats, mass: float) -> _Ids:
    """The indices, ascending, of the fewest largest weights that hold `mass` (below 1) of their sum.

    Weights below (1 - mass) of the average are never needed: together they hold less than 1 - mass.
    """
    total = float(weights.sum(dtype=np.float64))
    ids = np.flatnonzero(weights >= weights.dtype.type((1 - mass) * total / weights.size))
    heavy = weights[ids]
    return ids[_first(heavy, *_edge(heavy, mass * total))]


def _edge(weights: _Floats, wanted: float) -> tuple[float, int]:
    """The smallest of the largest weights that sum up to `wanted`, and how many they are.

    Weights that share exponent and five bits of mantissa are added up first; only those in the bin where the
    sum passes `wanted` are sorted.
    """
    above, n_above = 0.0, 0
    if weights.size > _FEW:
        bins = weights.astype(np.float32, copy=False).view(np.uint32) >> 18
        sums = np.cumsum(np.bincount(bins, weights)[::-1])
        bin = int(np.searchsorted(sums, min(wanted, float(sums[-1]))))
        above = float(sums[bin - 1]) if bin else 0.0
        bin = sums.size - 1 - bin
        n_above = int(np.count_nonzero(bins > bin))
        weights = weights[bins == bin]
    descending = np.sort(weights)[::-1]
    n = int(np.searchsorted(np.cumsum(descending, dtype=np.float64), wanted - above))
    n = min(n + 1, descending.size)
    return float(descending[n - 1]), n_above + n


def _first(values: _Floats, bound: float, n: int) -> _Ids:
    """The indices of the n largest values, of which the smallest is `bound`; ties go to the lower index."""
    kept = values > bound
    kept[np.flatnonzero(values == bound)[: n - int(np.count_nonzero(kept))]] = True
    return np.flatnonzero(kept)


def _draw(weights: _Floats, uniform: float) -> int:
    """The index at which the cumulative sum of the weights passes `uniform` (in [0, 1)) of their total.

    Sums of blocks come first: a cumulative sum over a vocabulary is slow, one over a block is not.
    """
    starts = np.arange(0, weights.size, _BLOCK)
    totals = np.cumsum(np.add.reduceat(weights, starts, dtype=np.float64))
    target = uniform * float(totals[-1])
    block = int(np.searchsorted(totals, target, side="right"))
    within = weights[block * _BLOCK : (block + 1) * _BLOCK]
    before = float(totals[block - 1]) if block else 0.0
    index = int(np.searchsorted(np.cumsum(within, dtype=np.float64), target - before, side="right"))
    # By rounding, it may lie behind the last token with any weight.
    return block * _BLOCK + min(index, int(np.flatnonzero(within)[-1]))
