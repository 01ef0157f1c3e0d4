"""A loop is found exactly when the last tokens are one block over and over, however they arrive."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import examples

from tessera.parsing.loops import LOOKS, REPETITIONS, LoopDetector, repeats_itself

FEW = st.integers(0, 3)


def noticed_after(tokens: list[int], n_tokens: int, cuts: list[int]) -> int | None:
    """The number of tokens after which a loop is noticed, if they arrive in pieces of these sizes."""
    detector, at, sizes = LoopDetector(n_tokens), 0, iter([*cuts, len(tokens) + 1])
    while at < len(tokens):
        piece = tokens[at : at + next(sizes, len(tokens) + 1)]
        found = detector.feed(piece)
        if found is not None:
            return at + found
        at += len(piece)
    return None


def is_periodic(tokens: list[int]) -> bool:
    """Whether the tokens are periodic, by the definition."""
    return any(
        all(tokens[i] == tokens[i - period] for i in range(period, len(tokens)))
        for period in range(1, len(tokens) // REPETITIONS + 1)
    )


@given(st.lists(FEW, min_size=1, max_size=40))
def test_any_tokens_are_judged_by_the_definition(tokens: list[int]) -> None:
    assert repeats_itself(tokens) == is_periodic(tokens)


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=9), st.integers(4, 9), st.integers(0, 8))
def test_every_block_that_is_repeated_often_enough_is_a_loop(block: list[int], n: int, more: int) -> None:
    repeated = block * n + block[: more % len(block)]
    assert repeats_itself(repeated)
    assert not repeats_itself([*repeated[:-1], repeated[-1] + 1])


@given(
    st.lists(FEW, max_size=60),
    st.lists(FEW, min_size=1, max_size=10),
    st.sampled_from([4, 16, 40, 64]),
    st.lists(st.integers(1, 30), max_size=30),
)
def test_it_is_noticed_in_time_and_never_without_a_reason(
    before: list[int], block: list[int], n_tokens: int, cuts: list[int]
) -> None:
    endless = (before + block * (2 * n_tokens + 60))[: 2 * n_tokens + 60]
    found = noticed_after(endless, n_tokens, cuts)
    if found is not None:
        assert is_periodic(endless[found - n_tokens : found])
    if len(block) <= n_tokens // REPETITIONS:
        assert found is not None
        assert found <= len(before) + n_tokens + max(1, n_tokens // LOOKS)


@given(st.lists(FEW, max_size=200), st.lists(st.integers(1, 30), max_size=40))
def test_it_does_not_depend_on_how_tokens_arrive(tokens: list[int], cuts: list[int]) -> None:
    assert noticed_after(tokens, 16, cuts) == noticed_after(tokens, 16, [])


@given(st.lists(st.integers(0, 5000), min_size=2000, max_size=2000, unique=True))
@examples(20)
def test_text_that_goes_on_is_none(tokens: list[int]) -> None:
    assert noticed_after(tokens, 64, []) is None


@pytest.mark.parametrize("n_tokens", [64, 1024])
def test_a_look_costs_a_bounded_number_of_comparisons(n_tokens: int) -> None:
    class Counted(int):
        n = 0

        def __eq__(self, other: object) -> bool:
            Counted.n += 1
            return int(self) == other

        __hash__ = int.__hash__

    # The worst case: any period may be the one until its last token is compared.
    worst = [Counted(7)] * (8 * n_tokens)
    worst[::n_tokens] = [Counted(index) for index in range(8)]
    detector = LoopDetector(n_tokens)
    for token in worst:
        detector.feed([token])
    assert Counted.n <= 8 * LOOKS * (n_tokens // REPETITIONS + n_tokens)
