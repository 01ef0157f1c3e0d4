"""Who gives way when places or blocks run out: random mixes of accounts, counted in steps."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import examples
from tests.unit.engine.batch.test_scheduler import make

from tessera.engine.batch.blocks import BLOCK_TOKENS, BlockPool
from tessera.engine.batch.scheduler import Scheduler
from tessera.engine.batch.sequence import MOST_OVERTAKEN, TokenSequence

N_BLOCKS = 24
N_PLACES = 6
MANY_STEPS = 2_000


@dataclass
class Load:
    """A scheduler with a small pool, and its requests."""

    scheduler: Scheduler = field(
        default_factory=lambda: Scheduler(BlockPool(N_BLOCKS), max_sequences=N_PLACES, step_tokens=48)
    )
    numbers: Iterator[int] = field(default_factory=count)

    @property
    def alive(self) -> list[TokenSequence]:
        return [*self.scheduler.running, *self.scheduler.waiting]

    def ask(self, account: str, n_prompt: int, n_output: int = 1, priority: int = 0) -> TokenSequence:
        number = next(self.numbers)
        sequence = make(
            number,
            [1000 + number] * n_prompt,  # which nobody else has
            priority=priority,
            salt=account.encode(),
            max_tokens=n_output,
        )
        self.scheduler.add(sequence)
        return sequence

    def step(self) -> list[TokenSequence]:
        """Runs one step; returns the sequences that are done."""
        done: list[TokenSequence] = []
        planned = self.scheduler.plan()
        assert planned or not self.alive, "work waits and nothing moves"
        for sequence, n_tokens in planned:
            sequence.advance(n_tokens, self.scheduler.pool)
            if not sequence.n_pending:
                sequence.tokens.append(sequence.request)
                if sequence.n_output == sequence.sampling.max_tokens:
                    self.scheduler.remove(sequence)
                    done.append(sequence)
        return done


@dataclass(frozen=True)
class Asked:
    """A request of an account: the step at which it comes, and its sequences."""

    account: str
    wait: int
    n_prompt: int
    n_output: int
    n: int
    priority: int = 0


def asked(
    accounts: list[str], n_most: int, priorities: tuple[int, int] = (0, 0)
) -> st.SearchStrategy[list[Asked]]:
    each = st.builds(
        Asked,
        st.sampled_from(accounts),
        st.integers(0, 12),
        st.integers(1, 12 * BLOCK_TOKENS),
        st.integers(1, 4 * BLOCK_TOKENS),
        st.integers(1, 8),
        st.integers(*priorities),
    )
    return st.lists(each, min_size=1, max_size=n_most)


@examples(60)
@given(asked(["a", "b"], 6), st.integers(1, 4 * BLOCK_TOKENS), st.integers(1, 3 * BLOCK_TOKENS))
def test_an_account_within_its_share_starts_at_once_and_is_not_preempted(
    others: list[Asked], n_prompt: int, n_output: int
) -> None:
    load = Load()
    mine: TokenSequence | None = None
    arrivals = sorted(others, key=lambda each: each.wait)
    for step in range(100):
        while arrivals and arrivals[0].wait <= step:
            each = arrivals.pop(0)
            for _ in range(each.n):
                load.ask(each.account, each.n_prompt, each.n_output)
        # Of 24 blocks, a third is the share of each of the three accounts: mine needs 7 at most.
        mine = mine or load.ask("mine", n_prompt, n_output)
        starved = any(each.is_due for each in load.alive)
        done = load.step()
        assert mine in done or mine in load.scheduler.running or starved
        if mine in done:
            mine = None


@examples(60)
@given(
    asked(["a", "b", "mine"], 12, (0, 2)), st.integers(1, 20 * BLOCK_TOKENS), st.integers(1, 3 * BLOCK_TOKENS)
)
def test_the_highest_priority_starts_at_once_and_is_not_preempted(
    lower: list[Asked], n_prompt: int, n_output: int
) -> None:
    load = Load()
    mine: TokenSequence | None = None
    arrivals = sorted(lower, key=lambda each: each.wait)
    for step in range(40):
        while arrivals and arrivals[0].wait <= step:
            each = arrivals.pop(0)
            for _ in range(each.n):
                load.ask(each.account, each.n_prompt, each.n_output, each.priority)
        mine = mine or load.ask("mine", n_prompt, n_output, priority=3)
        done = load.step()
        assert mine in done or mine in load.scheduler.running
        if mine in done:
            mine = None


@examples(60)
@given(
    small=st.lists(
        st.tuples(
            st.sampled_from(["large", "a", "b"]),
            st.integers(1, 2 * BLOCK_TOKENS),
            st.integers(1, 2 * BLOCK_TOKENS),
        ),
        min_size=1,
        max_size=5,
    ),
    every=st.integers(1, 6),
    n_prompt=st.integers(12 * BLOCK_TOKENS, 23 * BLOCK_TOKENS),
)
def test_a_large_prompt_is_served_under_an_endless_load_of_small_ones(
    small: list[tuple[str, int, int]], every: int, n_prompt: int
) -> None:
    load = Load()
    for account, *lengths in small * 2:
        load.ask(account, *lengths)
    load.step()
    large = load.ask("large", n_prompt, BLOCK_TOKENS)
    for step in range(MANY_STEPS):
        if step % every == 0 and len(load.scheduler.waiting) < 2 * N_PLACES:
            account, *lengths = small[step // every % len(small)]
            load.ask(account, *lengths)
        if large in load.step():
            return
    pytest.fail(f"never served, and overtaken {large.n_overtaken} times")


@pytest.mark.parametrize("account", ["large", "other"])
def test_a_prompt_that_does_not_fit_does_not_hold_up_others(account: str) -> None:
    load = Load()
    first = load.ask("first", 10 * BLOCK_TOKENS, 12 * BLOCK_TOKENS)
    while not first.n_output:
        load.step()
    large = load.ask("large", 18 * BLOCK_TOKENS)
    for n in range(1, MOST_OVERTAKEN + 1):
        small = load.ask(account, BLOCK_TOKENS)
        load.step()
        assert (small.n_output, large.n_overtaken) == (1, n)
    small = load.ask(account, BLOCK_TOKENS)
    load.step()
    assert not small.n_output  # now it is the large one's turn
    while large in load.scheduler.waiting:
        load.step()
    while load.alive:
        load.step()


def test_the_account_that_holds_the_most_gives_its_blocks_and_of_it_what_came_last() -> None:
    load = Load()
    early = [load.ask("most", 5 * BLOCK_TOKENS, 100) for _ in range(3)]
    late = [load.ask("least", 4 * BLOCK_TOKENS, 100) for _ in range(2)]
    while not early[-1].preempted:
        load.step()
        assert not any(each.preempted for each in (*late, *early[:-1]))
    while load.alive:
        load.step()
