"""How many steps a higher priority waits for its first token, and a lower one for its next."""

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.engine.batch.test_scheduler import make

from tessera.engine.batch.blocks import BlockPool
from tessera.engine.batch.pace import PROMPT_TOKENS_AT_LEAST
from tessera.engine.batch.precedence import MOST_STEPS
from tessera.engine.batch.scheduler import Scheduler
from tessera.engine.batch.sequence import TokenSequence

STEP_TOKENS, GAP_S = 256, 0.2
HIGH, MIDDLE, LOW = 4, 2, 0


@dataclass
class Machine:
    """A scheduler with a clock: a step takes `fixed_s`, and `row_s` for each token."""

    fixed_s: float
    row_s: float

    def __post_init__(self) -> None:
        self.scheduler = Scheduler(BlockPool(2_000), max_sequences=64, step_tokens=STEP_TOKENS, gap_s=GAP_S)
        self.n_added = 0

    def add(self, n_prompt: int, account: bytes, priority: int, max_tokens: int = 10**6) -> TokenSequence:
        self.n_added += 1
        prompt = [self.n_added * 1009 + position for position in range(n_prompt)]
        sequence = make(self.n_added, prompt, priority=priority, salt=account, max_tokens=max_tokens)
        self.scheduler.add(sequence)
        return sequence

    def step(self) -> dict[TokenSequence, int]:
        planned = dict(self.scheduler.plan())
        self.scheduler.measure(self.fixed_s + self.row_s * sum(planned.values()))
        for each, n_tokens in planned.items():
            each.advance(n_tokens, self.scheduler.pool)
            if not each.n_pending:
                each.tokens.append(1)
                each.report(None)
            if not each.n_left:
                self.scheduler.remove(each)
        return planned

    def run_until_first(self, *awaited: TokenSequence) -> list[dict[TokenSequence, int]]:
        steps: list[dict[TokenSequence, int]] = []
        while not all(each.n_output for each in awaited):
            steps.append(self.step())
            assert len(steps) < 5_000
        return steps


def beside(n_low: int, n_prompts: int, fixed_s: float, row_s: float) -> Machine:
    """A machine on which lower priorities have been decoding for a while, and wait with long prompts."""
    machine = Machine(fixed_s, row_s)
    for number in range(n_low):
        machine.add(1, b"low", (LOW, MIDDLE)[number % 2])
    for _ in range(60):
        machine.step()
    for _ in range(n_prompts):
        machine.add(3_000, b"low prompts", LOW)
        machine.step()
    return machine


LOADS = {
    "n_low": st.sampled_from([0, 1, 8, 32, 58]),
    "n_prompts": st.integers(0, 4),
    "fixed_s": st.floats(0.001, 0.1),
    "row_s": st.floats(0.0002, 0.01),
}


@settings(max_examples=80, deadline=None)
@given(n_tokens=st.integers(1, 2_000), **LOADS)
def test_a_higher_priority_has_its_first_token_in_as_many_steps_as_alone(
    n_low: int, n_prompts: int, fixed_s: float, row_s: float, n_tokens: int
) -> None:
    machine = beside(n_low, n_prompts, fixed_s, row_s)
    steps = machine.run_until_first(machine.add(n_tokens, b"high", HIGH))
    n_alone = -(-n_tokens // STEP_TOKENS)
    assert len(steps) <= n_alone + n_alone // MOST_STEPS
    # The first steps are its own.
    assert all(len(planned) == 1 for planned in steps[:MOST_STEPS])


@settings(max_examples=40, deadline=None)
@given(n_tokens=st.integers(1, 600), **LOADS)
def test_its_own_streams_are_all_that_share_the_steps_of_a_prompt(
    n_low: int, n_prompts: int, fixed_s: float, row_s: float, n_tokens: int
) -> None:
    machine, alone = beside(n_low, n_prompts, fixed_s, row_s), Machine(fixed_s, row_s)
    n_steps: list[int] = []
    for each in (machine, alone):
        stream = each.add(20, b"high", HIGH)
        each.run_until_first(stream)
        for _ in range(30):
            each.step()
        before = stream.n_output
        steps = each.run_until_first(each.add(n_tokens, b"other", HIGH))
        assert stream.n_output - before == len(steps), "the stream has a token in each step"
        n_steps.append(len(steps))
    fewest = min(n_tokens // PROMPT_TOKENS_AT_LEAST + 1, 4)
    assert n_steps[0] <= 2 * n_steps[1] + fewest


@settings(max_examples=40, deadline=None)
@given(n_high=st.integers(1, 6), n_tokens=st.integers(1, 1_000), **LOADS)
def test_lower_priorities_sit_few_steps_out_whatever_higher_ones_ask(
    n_low: int, n_prompts: int, fixed_s: float, row_s: float, n_high: int, n_tokens: int
) -> None:
    machine = beside(n_low, n_prompts, fixed_s, row_s)
    lower = {each for each in machine.scheduler.running if each.streams}
    high: list[TokenSequence] = []
    n_without = 0
    for _ in range(60):
        high = [each for each in high if each.n_left]
        high += [machine.add(n_tokens, b"high", HIGH, max_tokens=1) for _ in range(n_high - len(high))]
        planned = machine.step()
        has_lower = any(each in lower for each in planned)
        n_without = 0 if has_lower or not lower & {*machine.scheduler.running} else n_without + 1
        assert n_without <= MOST_STEPS


def test_equal_priorities_share_the_steps() -> None:
    machine = beside(8, 0, 0.03, 0.004)
    decoding = {*machine.scheduler.running}
    first = machine.add(500, b"other", LOW)
    for planned in machine.run_until_first(first):
        equal = {each for each in decoding if each.rank[0] == first.rank[0]}
        assert equal <= {*planned}


def test_all_decode_again_in_the_first_step_without_a_prompt() -> None:
    machine = beside(58, 0, 0.001, 0.0002)
    machine.run_until_first(machine.add(1_000, b"high", HIGH, max_tokens=1))
    assert len(machine.step()) == 58
