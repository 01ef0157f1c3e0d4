"""What every limiter must do, in memory and on a real Redis: the contract's rule, by a brute-force oracle."""

import asyncio
import math
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.redis_server import RedisServer
from tests.unit.access.test_window import GAPS, RATES, Oracle

from tessera.access.limits import Allowance, Lease, Limiter, LimitRefusal, MemoryLimiter
from tessera.access.redis_limits import RedisLimiter
from tessera.access.tiers import DEFAULTS, Tier
from tessera.access.window import Rate, Standing
from tessera.core.usage import Usage
from tessera.observe.metrics import Metrics

DAY_S = 86_400.0
EPOCH_S = 20_000 * DAY_S
LITE = DEFAULTS["lite"]
WIDE = replace(LITE, concurrency=10_000, thinking_tokens_per_day=None)

Check = Callable[[Limiter, "Clock"], Awaitable[None]]
Run = Callable[[Check], None]


class Clock:
    def __init__(self) -> None:
        self.now_s = EPOCH_S

    def __call__(self) -> float:
        return self.now_s


@asynccontextmanager
async def opened(kind: str, url: str, clock: Clock) -> AsyncIterator[Limiter]:
    limiter: Limiter
    if kind == "memory":
        limiter = MemoryLimiter(clock=clock, calendar=clock)
    else:
        limiter = RedisLimiter(url, 1, Metrics(), answer_s=60, clock=lambda: round(clock() * 1e6))
    try:
        yield limiter
    finally:
        await limiter.aclose()


@pytest.fixture(params=["memory", "redis"], scope="module")
def run(request: pytest.FixtureRequest, redis_server: RedisServer) -> Run:
    """Checks a new limiter with a clock of its own."""

    async def one(check: Check) -> None:
        clock = Clock()
        async with opened(request.param, redis_server.url, clock) as limiter:
            await check(limiter, clock)

    return lambda check: asyncio.run(one(check))


def allowance(rate: Rate, tier: Tier = WIDE) -> Allowance:
    return Allowance(f"acc_{secrets.token_hex(6)}", tier, rate)


def thought(n_tokens: int) -> Usage:
    """The usage of a request that only reasoned."""
    return Usage(0, 0, n_tokens, n_tokens)


async def admitted(limiter: Limiter, who: Allowance, *, thinks: bool = False, n: int = 1) -> Lease:
    decided = await limiter.admit(who, thinks=thinks, n_choices=n)
    assert not isinstance(decided, LimitRefusal)
    return decided


async def refused(limiter: Limiter, who: Allowance, *, thinks: bool = False, n: int = 1) -> LimitRefusal:
    decided = await limiter.admit(who, thinks=thinks, n_choices=n)
    assert isinstance(decided, LimitRefusal)
    return decided


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(RATES, st.lists(st.tuples(GAPS, st.none() | st.integers(0, 9)), max_size=60))
def test_it_accepts_what_the_rule_accepts(
    run: Run, rate: Rate, steps: list[tuple[float, int | None]]
) -> None:
    """Each step is a time that passes, a request, and, maybe, one of the last ten that is withdrawn."""

    async def check(limiter: Limiter, clock: Clock) -> None:
        oracle, who = Oracle(rate), allowance(rate)
        held: list[tuple[Lease, float]] = []

        def check_standing(standing: Standing) -> None:
            count = oracle.count(oracle.now_s)
            assert (standing.limit, standing.remaining) == (rate.sustained, max(0, rate.sustained - count))
            assert oracle.count(oracle.now_s + standing.reset_s) == 0
            assert standing.reset_s == 0 or oracle.count(oracle.now_s + standing.reset_s - 1) > 0

        for gap, withdrawn in steps:
            clock.now_s += gap
            decided = await limiter.admit(who, thinks=False)
            wanted = oracle.admit(clock.now_s)
            assert isinstance(decided, LimitRefusal) is not wanted
            check_standing(decided.standing)
            assert await limiter.standing(who) == decided.standing
            if not isinstance(decided, LimitRefusal):
                held.append((decided, oracle.now_s))
            if withdrawn is not None and withdrawn < len(held):
                lease, accepted_s = held.pop(-1 - withdrawn)
                oracle.withdraw(accepted_s)
                await lease.withdraw()
                check_standing(lease.standing)
                await lease.release()
                assert await limiter.standing(who) == lease.standing
            elif isinstance(decided, LimitRefusal):
                wait_s = decided.retry_after_s
                assert oracle.accepts(oracle.now_s + wait_s)
                assert wait_s == 1 or not oracle.accepts(oracle.now_s + wait_s - 1)

    run(check)


def test_a_request_that_is_withdrawn_runs_no_more(run: Run) -> None:
    async def check(limiter: Limiter, clock: Clock) -> None:
        who = allowance(Rate(5, 5), replace(LITE, concurrency=2))
        leases = [await admitted(limiter, who) for _ in range(2)]
        for _ in range(10):
            lease = leases.pop()
            await lease.withdraw()
            await lease.withdraw()
            leases.append(await admitted(limiter, who))
            assert leases[-1].standing.remaining == 3
        assert (await refused(limiter, who)).limit == "concurrency"

    run(check)


def test_no_more_at_once_than_the_tier_and_the_refused_count_for_nothing(run: Run) -> None:
    async def check(limiter: Limiter, clock: Clock) -> None:
        who = allowance(Rate(5, 5), replace(LITE, concurrency=2))
        leases = [await admitted(limiter, who) for _ in range(2)]
        for _ in range(10):
            refusal = await refused(limiter, who)
            assert (refusal.limit, refusal.retry_after_s, refusal.standing.remaining) == ("concurrency", 1, 3)
        for _ in range(2):
            await leases[0].release()
        await admitted(limiter, who)
        assert (await refused(limiter, who)).limit == "concurrency"
        await leases[1].release()
        await (await admitted(limiter, who)).release()
        await (await admitted(limiter, who)).release()
        assert (await refused(limiter, who)).limit == "rate"

    run(check)


CHOICES = st.lists(st.tuples(st.sampled_from(["admit", "admit", "release", "withdraw"]), st.integers(1, 8)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(CHOICES, st.integers(1, 16))
def test_choices_at_once_are_no_more_than_the_tier(
    run: Run, steps: list[tuple[str, int]], concurrency: int
) -> None:
    async def check(limiter: Limiter, clock: Clock) -> None:
        who = allowance(Rate(1000, 1000), replace(WIDE, concurrency=concurrency))
        held: list[tuple[Lease, int]] = []
        n_accepted = 0
        for step, n in steps:
            if step == "admit":
                fits = sum(n for _, n in held) + n <= concurrency
                if fits:
                    held.append((await admitted(limiter, who, n=n), n))
                    n_accepted += 1
                else:
                    assert (await refused(limiter, who, n=n)).limit == "concurrency"
            elif held:
                lease, _ = held.pop(n % len(held))
                await (lease.release() if step == "release" else lease.withdraw())
                n_accepted -= step == "withdraw"
            # A request counts once against the rate, whatever its choices.
            assert (await limiter.standing(who)).remaining == 1000 - n_accepted
        for lease, _ in held:
            await lease.release()
        await (await admitted(limiter, who, n=concurrency)).release()

    run(check)


def test_thinking_is_refused_when_the_day_s_tokens_are_used_up(run: Run) -> None:
    async def check(limiter: Limiter, clock: Clock) -> None:
        who = allowance(Rate(100, 100), replace(WIDE, thinking_tokens_per_day=1000))
        clock.now_s += DAY_S / 2
        for _ in range(2):
            lease = await admitted(limiter, who, thinks=True)
            await lease.release(thought(600))
            await lease.release(thought(600))
        refusal = await refused(limiter, who, thinks=True)
        assert (refusal.limit, refusal.retry_after_s) == ("thinking", DAY_S / 2)
        assert refusal.standing.remaining == 98
        await admitted(limiter, who)
        late = await admitted(limiter, who)
        clock.now_s += DAY_S / 2
        await (await admitted(limiter, who, thinks=True)).release(thought(999))
        clock.now_s -= 10
        await (await admitted(limiter, who, thinks=True)).release(thought(0))
        await late.release(thought(1))
        assert (await refused(limiter, who, thinks=True)).limit == "thinking"

    run(check)


@pytest.mark.parametrize("ahead_s", [DAY_S, 400 * DAY_S])
def test_a_clock_that_was_wrong_and_is_put_right_takes_no_day_s_tokens(run: Run, ahead_s: float) -> None:
    async def check(limiter: Limiter, clock: Clock) -> None:
        who = allowance(Rate(100, 100), replace(WIDE, thinking_tokens_per_day=1000))
        clock.now_s += ahead_s
        await (await admitted(limiter, who, thinks=True)).release(thought(1000))
        clock.now_s -= ahead_s
        for _ in range(3):
            lease = await admitted(limiter, who, thinks=True)
            await lease.release(thought(1000))
            refusal = await refused(limiter, who, thinks=True)
            assert (refusal.limit, refusal.retry_after_s) == ("thinking", DAY_S)
            clock.now_s += DAY_S

    run(check)


def test_accounts_do_not_know_of_each_other_and_keys_of_one_do(run: Run) -> None:
    async def check(limiter: Limiter, clock: Clock) -> None:
        one, other = allowance(Rate(1, 1)), allowance(Rate(1, 1))
        await admitted(limiter, one)
        await admitted(limiter, other)
        assert (await refused(limiter, one)).limit == "rate"
        await admitted(limiter, replace(one, rate=Rate(1, 2)))

    run(check)


def test_many_at_once_are_no_more_than_the_tier(run: Run) -> None:
    async def check(limiter: Limiter, clock: Clock) -> None:
        who = allowance(Rate(20, 30), replace(LITE, concurrency=25))
        decided = await asyncio.gather(*(limiter.admit(who, thinks=False) for _ in range(60)))
        leases = [each for each in decided if not isinstance(each, LimitRefusal)]
        assert len(leases) == 25
        await asyncio.gather(*(lease.release() for lease in leases))
        decided = await asyncio.gather(*(limiter.admit(who, thinks=False) for _ in range(60)))
        assert sum(not isinstance(each, LimitRefusal) for each in decided) == 5

    run(check)


@pytest.mark.parametrize("n", [2, 4])
def test_shares_are_no_more_than_the_tier_in_all(n: int) -> None:
    async def check() -> None:
        clock = Clock()
        who = allowance(Rate(50, 100), LITE)
        limiters = [MemoryLimiter(n, clock, clock) for _ in range(n)]
        n_at_once = 0
        for limiter in limiters:
            while not isinstance(await limiter.admit(who, thinks=False), LimitRefusal):
                n_at_once += 1
        assert n_at_once == LITE.concurrency
        times: list[float] = []
        who = allowance(Rate(50, 100))
        for _ in range(600):
            clock.now_s += 0.5
            for limiter in limiters:
                while not isinstance(await limiter.admit(who, thinks=False), LimitRefusal):
                    times.append(clock.now_s)
        assert max(sum(at - 60 < each <= at for each in times) for at in times) <= 100
        bursts = {math.floor(at) for i, at in enumerate(times) if i >= 50 and times[i - 50] > at - 60}
        assert len(bursts) <= 300

    asyncio.run(check())


@pytest.mark.parametrize("n", [2, 3, 4, 16])
def test_a_share_admits_as_many_choices_as_the_tier_when_nothing_else_runs(n: int) -> None:
    async def check() -> None:
        clock = Clock()
        who = allowance(Rate(5000, 7000), LITE)
        for n_choices in range(1, LITE.concurrency + 1):
            limiter = MemoryLimiter(n, clock, clock)
            lease = await limiter.admit(who, thinks=False, n_choices=n_choices)
            assert not isinstance(lease, LimitRefusal)
            n_left = max(0, LITE.concurrency // n - n_choices)
            decided = [await limiter.admit(who, thinks=False) for _ in range(n_left + 1)]
            assert [isinstance(each, LimitRefusal) for each in decided] == [False] * n_left + [True]
            assert (await refused(limiter, who, n=n_choices)).limit == "concurrency"
            for each in (lease, *decided):
                if not isinstance(each, LimitRefusal):
                    await each.release()
            await admitted(limiter, who, n=n_choices)

    asyncio.run(check())


def test_an_account_that_does_nothing_is_forgotten() -> None:
    async def check() -> None:
        clock = Clock()
        limiter = MemoryLimiter(clock=clock, calendar=clock)
        for i in range(100):
            lease = await admitted(limiter, Allowance(f"acc_{i}", LITE, LITE.rate))
            await lease.release(thought(i))
        kept = await admitted(limiter, allowance(LITE.rate))
        clock.now_s += 100
        await limiter.standing(allowance(LITE.rate))
        assert limiter.n_accounts == 101
        clock.now_s += DAY_S
        await limiter.standing(allowance(LITE.rate))
        assert limiter.n_accounts == 2
        await kept.release()
        assert limiter.n_running == 0

    asyncio.run(check())
