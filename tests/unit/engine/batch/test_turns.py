"""Prompts of several accounts beside running streams, step by step under a model of what steps cost."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from hypothesis import example, given
from hypothesis import strategies as st
from tests.strategies import examples
from tests.unit.engine.batch.test_scheduler import make

from tessera.engine.batch.blocks import BlockPool
from tessera.engine.batch.pace import DECODING_AT_LEAST, PROMPT_TOKENS_AT_LEAST
from tessera.engine.batch.precedence import MOST_STEPS
from tessera.engine.batch.scheduler import Scheduler
from tessera.engine.batch.sequence import TokenSequence
from tessera.engine.batch.turns import PromptTurns

STEP_TOKENS, GAP_S = 128, 0.2


@dataclass
class Machine:
    """Computes plans. A step takes `step_s`, and `token_s` for each token except one of each decoding
    sequence.
    """

    step_s: float
    token_s: float
    max_sequences: int = 64
    n_forced: int = 0
    scheduler: Scheduler = field(init=False)
    last: dict[TokenSequence, int] = field(init=False)
    served: set[bytes] = field(init=False)
    n_left_out: int = 0
    duration_s: float = 0.0

    def __post_init__(self) -> None:
        self.scheduler = Scheduler(
            BlockPool(2_000), max_sequences=self.max_sequences, step_tokens=STEP_TOKENS, gap_s=GAP_S
        )

    def add(
        self, request: int, length: int, account: bytes, *, priority: int = 0, output: int = 8
    ) -> TokenSequence:
        prompt = [hash((request, position)) % 97 for position in range(length)]
        sequence = make(request, prompt, priority=priority, salt=account, max_tokens=output)
        self.scheduler.add(sequence)
        return sequence

    def step(self) -> None:
        """Checks, computes and times one plan."""
        running = [*self.scheduler.running]
        decoding = [sequence for sequence in running if sequence.decodes]
        self.last = dict(self.scheduler.plan())
        # Within an account, what has begun to answer goes first: its forced tokens may be the account's turn.
        self.served = {
            each.salt for each, count in self.last.items() if not each.streams or count > each.decodes
        }
        # A prompt may get nothing of a step, whose budget its own priority's forced tokens use up.
        prompts = [each for each in self.scheduler.running if not each.streams and not each.sits_out]
        highest = min((each.rank[0] for each in prompts), default=0)
        left_out = {*decoding} - {*self.scheduler.waiting} - {*self.last}
        assert all(each.rank[0] > highest for each in left_out), "a stream was left out"
        self.n_left_out = self.n_left_out + 1 if left_out else 0
        assert self.n_left_out <= MOST_STEPS
        n_prompt = sum(count - sequence.decodes for sequence, count in self.last.items())
        assert n_prompt <= self.scheduler.prompt_budget()
        self._check_use(n_prompt)
        self.duration_s = self.step_s + self.token_s * n_prompt
        self.scheduler.measure(self.duration_s)
        for sequence, count in self.last.items():
            self._advance(sequence, count)

    def _check_use(self, n_prompt: int) -> None:
        """Checks that the budget is used up, if enough waits, and by the highest priority first."""
        left = {each: each.n_pending - self.last.get(each, 0) for each in self.scheduler.running}
        lowest = max((each.rank[0] for each in self.last), default=0)
        left = {sequence: count for sequence, count in left.items() if count and sequence.rank[0] <= lowest}
        # A sequence whose last token is pending is counted as one that decodes.
        assert not left or n_prompt >= self.scheduler.prompt_budget() - len(self.last)
        best_left = max((-each.rank[0] for each in left), default=-1)
        prompts = [each for each, count in self.last.items() if count > each.decodes]
        assert all(-each.rank[0] >= best_left for each in prompts)

    def _advance(self, sequence: TokenSequence, count: int) -> None:
        sequence.advance(count, self.scheduler.pool)
        if sequence.n_pending:
            return
        sequence.tokens += [1] * (1 + min(self.n_forced, max(0, sequence.n_left - 2)))
        sequence.report(None)
        if not sequence.n_left:
            self.scheduler.remove(sequence)


ARRIVALS = st.lists(
    st.tuples(
        st.integers(0, 40),  # the step before which it arrives
        st.integers(1, 600),  # prompt tokens
        st.sampled_from([b"a", b"b", b"c", b"d"]),
        st.integers(1, 40),  # output tokens
    ),
    max_size=24,
)
PRIORITIES = {b"a": 1, b"b": 1, b"c": 1, b"d": 2}


FORCED_TOKENS_TAKE_TURNS = [
    (0, 1, b"a", 12),
    (0, 11, b"c", 19),
    (1, 336, b"b", 40),
    (40, 139, b"b", 40),
    (16, 530, b"c", 40),
    (40, 51, b"a", 3),
    (0, 16, b"a", 34),
    (0, 81, b"b", 40),
    (0, 164, b"a", 40),
    (40, 30, b"a", 34),
    (12, 60, b"c", 28),
    (15, 99, b"c", 40),
    (1, 12, b"a", 30),
    (1, 62, b"c", 30),
    (25, 46, b"d", 40),
]


@examples(60)
@given(ARRIVALS, st.floats(0.001, 0.3), st.floats(0.0001, 0.02), st.sampled_from([0, 3, 31, 60]))
@example(FORCED_TOKENS_TAKE_TURNS, 0.25, 0.015625, 31)
def test_streams_go_on_prompts_share_and_accounts_take_turns(
    arrivals: list[tuple[int, int, bytes, int]], step_s: float, token_s: float, n_forced: int
) -> None:
    machine = Machine(step_s, token_s, n_forced=n_forced)
    waited: Counter[bytes] = Counter()
    for n_step in range(5_000):
        for request, (at, length, account, output) in enumerate(arrivals):
            if at == n_step:
                machine.add(request, length, account, priority=PRIORITIES[account], output=output)
        machine.step()
        assert not any(each.preempted for each in machine.scheduler.waiting)
        running = {each.salt for each in machine.scheduler.running if each not in machine.last}
        # A step of whose budget the highest priority takes something is no turn of the others.
        n_turns = int(
            not any(each.salt == b"d" and count > each.decodes for each, count in machine.last.items())
        )
        waited = Counter({account: waited[account] + n_turns for account in running - machine.served})
        assert all(n <= 2 * len(PRIORITIES) for account, n in waited.items() if account != b"d")
        if n_step > 40 and not (machine.scheduler.running or machine.scheduler.waiting):
            return
    raise AssertionError("some are never done")


@given(st.floats(0.001, 0.15), st.floats(0.0001, 0.02), st.integers(0, 31))
def test_long_prompts_in_a_loop_leave_a_stream_its_gaps(step_s: float, token_s: float, n_forced: int) -> None:
    machine = Machine(step_s, token_s, n_forced=n_forced)
    stream = machine.add(0, 20, b"honest", output=10_000)
    longest = [machine.add(1 + each, 2_000, b"greedy", output=1) for each in range(4)]
    over: list[int] = []
    for n_step in range(120):
        machine.step()
        n_prompt = sum(count - 1 for count in machine.last.values())
        if n_prompt > PROMPT_TOKENS_AT_LEAST and machine.duration_s > 1.25 * GAP_S:
            over.append(n_step)
    assert stream.n_output >= 60
    assert len(over) <= 10
    assert len([step for step in over if step > 40]) <= 3, "what has been learned is hardly ever wrong"
    assert any(each.n_computed or each.n_output for each in longest)


def test_a_short_prompt_does_not_wait_behind_long_ones_of_another_account() -> None:
    machine = Machine(0.02, 0.002)
    machine.add(0, 10, b"stream", output=500)
    for _ in range(10):
        machine.step()
    for each in range(4):
        machine.add(1 + each, 4_000, b"greedy")
    for _ in range(5):
        machine.step()
    short = machine.add(9, 60, b"honest")
    took_s = 0.0
    while not short.n_output:
        machine.step()
        took_s += machine.duration_s
    assert took_s < 0.5, "16,000 tokens are before it"


def test_a_prompt_of_a_higher_priority_goes_first() -> None:
    machine = Machine(0.02, 0.002)
    for each in range(4):
        machine.add(each, 4_000, b"greedy", priority=1)
    machine.step()
    short = machine.add(9, STEP_TOKENS, b"best", priority=4)
    machine.step()
    assert short.n_output == 1


def test_prompts_alone_take_whole_steps() -> None:
    machine = Machine(1.0, 1.0)
    prompt = machine.add(0, STEP_TOKENS * 5, b"a")
    for _ in range(5):
        machine.step()
    assert prompt.n_output == 1


def test_a_place_goes_to_the_account_with_the_fewest() -> None:
    machine = Machine(0.01, 0.001, max_sequences=2)
    first, second, third = (machine.add(each, 10, b"greedy", output=8 + 9 * each) for each in range(3))
    machine.step()
    honest = machine.add(9, 10, b"honest", output=40)
    machine.step()
    assert {*machine.scheduler.running} == {first, honest}
    while first in machine.scheduler.running:
        machine.step()
    machine.step()
    assert {*machine.scheduler.running} == {second, honest}
    assert third in machine.scheduler.waiting


@examples(60)
@given(
    n_greedy=st.integers(1, 60),
    n_others=st.integers(0, 3),
    fixed_s=st.floats(0.001, 0.05),
    row_s=st.floats(0.0005, 0.008),
    has_prompts=st.booleans(),
)
def test_many_streams_of_one_account_do_not_slow_down_those_of_others(
    n_greedy: int, n_others: int, fixed_s: float, row_s: float, has_prompts: bool
) -> None:
    scheduler = Scheduler(BlockPool(4_000), max_sequences=64, step_tokens=STEP_TOKENS, gap_s=GAP_S)
    accounts = [b"greedy"] * n_greedy + [b"%d" % i for i in range(n_others)]
    streams = [make(i, [i], salt=account, max_tokens=10**6) for i, account in enumerate(accounts)]
    for each in streams:
        scheduler.add(each)
    waited: Counter[TokenSequence] = Counter()
    for n_step in range(150):
        if has_prompts and n_step % 20 == 0:
            scheduler.add(make(1000 + n_step, [n_step] * 100, salt=b"prompts", max_tokens=10**6))
        planned = dict(scheduler.plan())
        duration_s = fixed_s + row_s * sum(planned.values())
        scheduler.measure(duration_s)
        for each, n_tokens in planned.items():
            each.advance(n_tokens, scheduler.pool)
            if not each.n_pending:
                each.tokens.append(1)
                each.report(None)
                if each.salt == b"prompts":
                    scheduler.remove(each)
        waited = Counter({each: waited[each] + 1 for each in scheduler.running if each not in planned})
        if n_step < 100:
            continue
        assert not any(each in waited for each in streams[n_greedy:])
        # All turns of an account are taken before one comes again.
        assert max(waited.values(), default=0) <= n_greedy
        least_s = fixed_s + row_s * (DECODING_AT_LEAST + PROMPT_TOKENS_AT_LEAST + len({*accounts}))
        assert n_others == 0 or duration_s <= max(1.3 * GAP_S, least_s)
        assert n_others or has_prompts or len(planned) == n_greedy


@given(st.lists(st.sets(st.sampled_from([b"a", b"b", b"c", b"d"]), min_size=1), max_size=60), st.data())
def test_whoever_comes_and_goes_takes_no_turn_from_who_waits(
    present: list[set[bytes]], data: st.DataObject
) -> None:
    turns = PromptTurns()
    waited: dict[bytes, int] = defaultdict(int)
    for accounts in present:
        accounts.add(b"waiting")
        left = 1.0
        for account in turns.order(sorted(accounts)):
            share = left if account == b"waiting" else left * data.draw(st.sampled_from([0.5, 0.9, 1.0]))
            turns.serve(account, share)
            left -= share
            waited[account] = 0 if share else waited[account] + 1
        assert waited[b"waiting"] <= 8


def test_an_account_that_returns_for_a_short_prompt_goes_first() -> None:
    turns = PromptTurns()
    for step in range(20):
        visits = step % 5 == 0
        order = turns.order([b"greedy", b"visitor"] if visits else [b"greedy"])
        assert order[0] == (b"visitor" if visits and step else b"greedy") or not step
        turns.serve(b"greedy", 0.5 if visits else 1.0)
        if visits:
            turns.serve(b"visitor", 0.5)


def test_an_account_that_leaves_with_more_than_others_keeps_its_count() -> None:
    turns = PromptTurns()
    turns.order([b"patient", b"greedy"])
    turns.serve(b"greedy", 1.0)
    turns.order([b"patient"])
    turns.serve(b"patient", 0.5)
    assert turns.order([b"patient", b"greedy"]) == [b"patient", b"greedy"]
