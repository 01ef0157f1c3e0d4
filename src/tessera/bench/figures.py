"""The statistics: from the outcomes of rounds to figures. Pure functions."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median, median_low
from typing import Literal

from tessera.bench.rounds import Round
from tessera.bench.sample import Failure, Sample

Counting = Literal["usage", "events", "both"]


@dataclass(frozen=True, slots=True)
class Spread:
    """Percentiles of a sample."""

    p50: float
    p90: float
    p99: float


@dataclass(frozen=True, slots=True)
class Measures:
    """The figures of a round, or their medians over several. Durations are in seconds; None means no value.

    `ttft_s` is the time to the first token, `tpot_s` the time per further token of a reply, `gap_s` the time
    between two events of a stream, `total_s` the time of the whole reply. Only replies that ended well count;
    `errors` counts the others by reason.
    """

    tokens_per_s: float
    requests_per_s: float
    ttft_s: Spread | None
    tpot_s: Spread | None
    gap_s: Spread | None
    total_s: Spread | None
    n_replies: int
    tokens_per_reply: int
    prompt_tokens: int | None
    counted_by: Counting | None
    errors: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Figure:
    """One server with one shape at one number of streams."""

    server: str
    shape: str
    n_streams: int
    rounds: tuple[Measures, ...]

    @property
    def measures(self) -> Measures:
        """Medians over the rounds; the sum of their replies and errors."""
        return combine(self.rounds)


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value at `share` (0 to 1) of sorted values, interpolated between the two nearest."""
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def spread(values: Iterable[float | None]) -> Spread | None:
    """The percentiles of the values that are not None; None if there are none."""
    ordered = sorted(value for value in values if value is not None)
    if not ordered:
        return None
    return Spread(percentile(ordered, 0.5), percentile(ordered, 0.9), percentile(ordered, 0.99))


def measure_round(round: Round) -> Measures:
    """Compute the figures of one round."""
    samples = [outcome for outcome in round.outcomes if isinstance(outcome, Sample)]
    failures = [outcome for outcome in round.outcomes if isinstance(outcome, Failure)]
    prompts = [sample.n_prompt_tokens for sample in samples if sample.n_prompt_tokens is not None]
    return Measures(
        tokens_per_s=sum(sample.n_tokens for sample in samples) / round.took_s,
        requests_per_s=len(samples) / round.took_s,
        ttft_s=spread(sample.first_s for sample in samples),
        tpot_s=spread(sample.per_token_s for sample in samples),
        gap_s=spread(gap for sample in samples for gap in sample.gaps_s),
        total_s=spread(sample.total_s for sample in samples),
        n_replies=len(samples),
        tokens_per_reply=median_low([sample.n_tokens for sample in samples] or [0]),
        prompt_tokens=median_low(prompts) if prompts else None,
        counted_by=_counting({sample.counted_by for sample in samples}),
        errors=Counter(failure.reason for failure in failures),
    )


def combine(rounds: Sequence[Measures]) -> Measures:
    """Medians over at least one round."""
    prompts = [each.prompt_tokens for each in rounds if each.prompt_tokens is not None]
    return Measures(
        tokens_per_s=median(each.tokens_per_s for each in rounds),
        requests_per_s=median(each.requests_per_s for each in rounds),
        ttft_s=_median_spread(each.ttft_s for each in rounds),
        tpot_s=_median_spread(each.tpot_s for each in rounds),
        gap_s=_median_spread(each.gap_s for each in rounds),
        total_s=_median_spread(each.total_s for each in rounds),
        n_replies=sum(each.n_replies for each in rounds),
        tokens_per_reply=median_low(each.tokens_per_reply for each in rounds),
        prompt_tokens=median_low(prompts) if prompts else None,
        counted_by=_counting({each.counted_by for each in rounds if each.counted_by}),
        errors=sum((Counter(each.errors) for each in rounds), Counter[str]()),
    )


def ratio(main: Figure, other: Figure, of: Callable[[Measures], float | None]) -> float | None:
    """The quotient of a measure of `main` and of `other`; None if one of them lacks it."""
    above, below = of(main.measures), of(other.measures)
    return above / below if above is not None and below else None


def first_token(measures: Measures) -> float | None:
    """The median time to the first token."""
    return measures.ttft_s.p50 if measures.ttft_s else None


def _median_spread(spreads: Iterable[Spread | None]) -> Spread | None:
    known = [each for each in spreads if each is not None]
    if not known:
        return None
    return Spread(
        median(each.p50 for each in known),
        median(each.p90 for each in known),
        median(each.p99 for each in known),
    )


def _counting(ways: set[Counting] | set[Literal["usage", "events"]]) -> Counting | None:
    if not ways:
        return None
    return next(iter(ways)) if len(ways) == 1 else "both"
