"""The statistics, against other people's."""

import statistics
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.bench.figures import (
    Figure,
    Spread,
    combine,
    first_token,
    measure_round,
    percentile,
    ratio,
    spread,
)
from tessera.bench.rounds import Round
from tessera.bench.sample import Failure, Sample

VALUES = st.lists(st.floats(0, 1e6), min_size=1, max_size=60)


@given(VALUES, st.floats(0, 1))
def test_percentiles_are_numpys(values: list[float], share: float) -> None:
    assert percentile(sorted(values), share) == pytest.approx(float(np.quantile(values, share)), rel=1e-9)


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=60))
def test_percentiles_are_those_of_the_standard_library(values: list[float]) -> None:
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    expected = Spread(cuts[49], cuts[89], cuts[98])
    found = spread(values)
    assert found is not None
    assert (found.p50, found.p90, found.p99) == pytest.approx((expected.p50, expected.p90, expected.p99))


def test_what_is_not_there_is_left_out() -> None:
    assert spread([None, 2.0, None]) == Spread(2.0, 2.0, 2.0)
    assert spread([None]) is None


def sample(first_s: float, n: int = 11, counted_by: str = "usage") -> Sample:
    times_s = tuple(first_s + 0.1 * i for i in range(n))
    return Sample(times_s, times_s[-1] + 0.05, n, "usage" if counted_by == "usage" else "events", 40)


def test_a_round_is_measured() -> None:
    refused = Failure("503 engine_overloaded", "Full.", 503)
    found = measure_round(Round(4.0, (sample(0.2), sample(0.4, 21), refused, sample(0.3), refused)))
    assert (found.tokens_per_s, found.requests_per_s) == (43 / 4, 3 / 4)
    assert (found.n_replies, found.tokens_per_reply, found.prompt_tokens) == (3, 11, 40)
    assert found.errors == {"503 engine_overloaded": 2}
    assert found.counted_by == "usage"
    assert found.ttft_s is not None
    assert found.tpot_s is not None
    assert found.gap_s is not None
    assert found.total_s is not None
    assert found.ttft_s.p50 == pytest.approx(0.3)
    assert found.tpot_s.p99 == pytest.approx(0.1)
    assert found.gap_s.p99 == pytest.approx(0.1)
    assert found.total_s.p50 == pytest.approx(1.35)


def test_a_round_without_replies_has_only_errors() -> None:
    found = measure_round(Round(1.0, (Failure("cut off", ""),)))
    assert (found.tokens_per_s, found.requests_per_s, found.tokens_per_reply) == (0, 0, 0)
    assert (found.ttft_s, found.tpot_s, found.gap_s, found.total_s) == (None, None, None, None)
    assert (found.counted_by, found.prompt_tokens, first_token(found)) == (None, None, None)


def test_who_counted_is_said() -> None:
    both = measure_round(Round(1.0, (sample(0.1), sample(0.1, counted_by="events"))))
    events = measure_round(Round(1.0, (sample(0.1, counted_by="events"),)))
    assert (both.counted_by, events.counted_by, combine([both, events]).counted_by) == (
        "both",
        "events",
        "both",
    )


def test_rounds_become_their_medians_and_errors_add_up() -> None:
    rounds = [
        measure_round(Round(took_s, (sample(took_s), Failure("cut off", "")))) for took_s in (1.0, 9.0, 2.0)
    ]
    found = combine(rounds)
    assert found.tokens_per_s == 11 / 2
    assert found.ttft_s == Spread(2.0, 2.0, 2.0)
    assert (found.n_replies, found.errors) == (3, {"cut off": 3})


def test_the_ratio_is_of_medians() -> None:
    fast = measure_round(Round(1.0, (sample(0.1),)))
    slow = replace(fast, tokens_per_s=fast.tokens_per_s / 4, ttft_s=None)
    main, peer = Figure("a", "chat", 1, (fast, fast)), Figure("b", "chat", 1, (slow,))
    assert ratio(main, peer, lambda each: each.tokens_per_s) == 4
    assert ratio(main, peer, first_token) is None
