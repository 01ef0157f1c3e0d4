"""Budgets, as every limiter keeps to them: in memory and on a real Redis, by an oracle that is the ledger."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.redis_server import RedisServer

from tessera.access.limits import Allowance, Lease, Limiter, LimitRefusal, MemoryLimiter
from tessera.access.redis_limits import RedisLimiter
from tessera.access.spending import FRESH_S, ReadSpent
from tessera.access.tiers import DEFAULTS
from tessera.access.window import Rate
from tessera.core.budgets import BUDGETS, PERIODS, Period, Spent, TokenBudget
from tessera.core.usage import DAY_S, Usage, day_of
from tessera.errors import StoreUnavailable
from tessera.observe.metrics import Metrics

BEGUN_S = datetime(2026, 1, 30, 12, tzinfo=UTC).timestamp()
TIER = replace(DEFAULTS["operator"], thinking_tokens_per_day=None)
RATE = Rate(10**6, 10**6)
KEYS = ("key_a", "key_b")


@dataclass
class Books:
    """A ledger of ended requests: the key of each, the day on which it began, and its usage."""

    clock: "Clock"
    ended: list[tuple[str, str, Usage]] = field(default_factory=list)
    n_readings: int = 0
    is_away: bool = False

    async def read(self, account_id: str) -> Mapping[str, Spent]:
        self.n_readings += 1
        if self.is_away:
            raise StoreUnavailable("away")
        today = day_of(self.clock())
        spent: dict[str, Spent] = {}
        for key, day, used in self.ended:
            now = Spent(used if day == today else Usage(), used if day[:7] == today[:7] else Usage())
            spent[key] = spent.get(key, Spent()) + now
        return spent

    def used(self, budget: TokenBudget) -> int:
        today = day_of(self.clock())
        period = today if budget.period == "day" else today[:7]
        return sum(
            getattr(used, f"{budget.counted}_tokens")
            for key, day, used in self.ended
            if day.startswith(period) and budget.key_id in (None, key)
        )


class Clock:
    def __init__(self) -> None:
        self.now_s = BEGUN_S

    def __call__(self) -> float:
        return self.now_s


Make = Callable[[Clock, ReadSpent], Limiter]
Check = Callable[[Make, Clock, Books], Awaitable[None]]
Run = Callable[[Check], None]


@pytest.fixture(params=["memory", "redis"])
def run(request: pytest.FixtureRequest, redis_server: RedisServer) -> Run:
    """Runs a check, which makes limiters; each of them stands for a process that starts."""

    def make(clock: Clock, read: ReadSpent) -> Limiter:
        if request.param == "memory":
            return MemoryLimiter(clock=clock, calendar=clock, read_spent=read)
        micros = lambda: round(clock() * 1e6)  # noqa: E731
        return RedisLimiter(redis_server.url, 1, Metrics(), answer_s=60, clock=micros, read_spent=read)

    async def one(check: Check) -> None:
        made: list[Limiter] = []

        def kept(clock: Clock, read: ReadSpent) -> Limiter:
            made.append(make(clock, read))
            return made[-1]

        clock = Clock()
        try:
            await check(kept, clock, Books(clock))
        finally:
            for limiter in made:
                await limiter.aclose()

    return lambda check: asyncio.run(one(check))


def allowance(*budgets: TokenBudget, key: str = "key_a", account: str | None = None) -> Allowance:
    return Allowance(account or f"acc_{secrets.token_hex(6)}", TIER, RATE, key, budgets)


async def admitted(limiter: Limiter, who: Allowance, *, thinks: bool = False) -> Lease:
    decided = await limiter.admit(who, thinks=thinks)
    assert not isinstance(decided, LimitRefusal), decided
    return decided


async def refused(limiter: Limiter, who: Allowance, *, thinks: bool = False) -> LimitRefusal:
    decided = await limiter.admit(who, thinks=thinks)
    assert isinstance(decided, LimitRefusal)
    return decided


async def ends(books: Books, lease: Lease, key: str, day: str, used: Usage) -> None:
    """Ends a request: its end is in the ledger before its lease is released."""
    books.ended.append((key, day, used))
    await lease.release(used)


LIMITS = st.dictionaries(st.sampled_from([*BUDGETS]), st.integers(0, 60), min_size=1, max_size=3)
USED = st.builds(Usage, st.integers(0, 20), st.just(0), st.integers(0, 20), st.integers(0, 10))
STEPS = st.tuples(
    st.sampled_from([0, 0, 0, 1, 30, 61, 3600, DAY_S / 2, 3 * DAY_S]),
    st.sampled_from(KEYS),
    st.booleans(),
    USED,
    st.integers(0, 2),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(LIMITS, LIMITS, st.lists(STEPS, max_size=30))
def test_a_request_is_admitted_while_something_is_left_of_every_budget(
    run: Run, of_account: dict[str, int], of_key: dict[str, int], steps: list[Any]
) -> None:
    """Each step: time passes, a key asks, and some of the requests that run end."""

    async def check(make: Make, clock: Clock, books: Books) -> None:
        limiter, account = make(clock, books.read), f"acc_{secrets.token_hex(6)}"
        budgets = [TokenBudget(name, tokens) for name, tokens in of_account.items()]
        running: list[tuple[Lease, str, str, Usage]] = []
        for gap, key, thinks, used, n_ending in steps:
            clock.now_s += gap
            own = [TokenBudget(name, tokens, key) for name, tokens in of_key.items() if key == "key_a"]
            who = allowance(*budgets, *own, key=key, account=account)
            decided = await limiter.admit(who, thinks=thinks)
            await asyncio.sleep(0)  # a reading that was begun has what has ended by now, and nothing later
            counting = [each for each in who.budgets if thinks or each.counted != "reasoning"]
            used_up = [each for each in counting if books.used(each) >= each.limit_tokens]
            if isinstance(decided, LimitRefusal):
                assert decided.limit == "budget"
                assert decided.budget == used_up[0]
            else:
                assert used_up == []
                used = used if thinks else replace(used, reasoning_tokens=0)
                running.append((decided, key, day_of(clock()), used))
            for _ in range(min(n_ending, len(running))):
                await ends(books, *running.pop(0))
        await limiter.aclose()

    run(check)


@pytest.mark.parametrize(
    ("name", "next_period"),
    [
        ("total_tokens_per_day", datetime(2026, 1, 31, tzinfo=UTC)),
        ("completion_tokens_per_month", datetime(2026, 2, 1, tzinfo=UTC)),
    ],
)
def test_a_budget_begins_anew_with_its_next_period(run: Run, name: str, next_period: datetime) -> None:
    async def check(make: Make, clock: Clock, books: Books) -> None:
        limiter, who = make(clock, books.read), allowance(TokenBudget(name, 100))
        late = await admitted(limiter, who)
        await ends(books, await admitted(limiter, who), "key_a", day_of(clock()), Usage(0, 0, 99, 0))
        await ends(books, await admitted(limiter, who), "key_a", day_of(clock()), Usage(0, 0, 99, 0))
        refusal = await refused(limiter, who)
        assert refusal.budget == TokenBudget(name, 100)
        assert refusal.retry_after_s == next_period.timestamp() - clock()
        clock.now_s = next_period.timestamp() - 1
        assert (await refused(limiter, who)).retry_after_s == 1
        clock.now_s += 1
        await ends(books, late, "key_a", day_of(BEGUN_S), Usage(0, 0, 500, 0))
        await (await admitted(limiter, who)).release()
        await limiter.aclose()

    run(check)


def test_it_holds_after_a_restart(run: Run, redis_server: RedisServer) -> None:
    async def check(make: Make, clock: Clock, books: Books) -> None:
        who = allowance(TokenBudget("total_tokens_per_month", 100))
        books.ended.append(("key_b", "2026-01-02", Usage(60, 0, 30, 0)))
        books.ended.append(("key_b", "2025-12-31", Usage(600, 0, 30, 0)))
        first = make(clock, books.read)
        await ends(books, await admitted(first, who), "key_a", day_of(clock()), Usage(10, 0, 0, 0))
        await refused(first, who)
        await first.aclose()
        with redis.Redis.from_url(redis_server.url) as server:  # Redis has no persistence
            server.flushall()
        second = make(clock, books.read)
        await refused(second, who)
        await second.aclose()

    run(check)


def test_keys_have_budgets_beside_that_of_their_account(run: Run) -> None:
    async def check(make: Make, clock: Clock, books: Books) -> None:
        limiter, account = make(clock, books.read), f"acc_{secrets.token_hex(6)}"
        whole, own = (
            TokenBudget("prompt_tokens_per_day", 100),
            TokenBudget("prompt_tokens_per_day", 10, "key_a"),
        )
        a = allowance(whole, own, account=account)
        b = allowance(whole, key="key_b", account=account)
        other = allowance(whole)
        await ends(books, await admitted(limiter, a), "key_a", day_of(clock()), Usage(10, 0, 999, 0))
        assert (await refused(limiter, a)).budget == own
        await ends(books, await admitted(limiter, b), "key_b", day_of(clock()), Usage(90, 0, 999, 0))
        assert (await refused(limiter, b)).budget == whole
        books.ended.clear()
        await (await admitted(limiter, other)).release()
        await limiter.aclose()

    run(check)


def test_reasoning_that_is_used_up_refuses_only_what_thinks(run: Run) -> None:
    async def check(make: Make, clock: Clock, books: Books) -> None:
        limiter, who = make(clock, books.read), allowance(TokenBudget("reasoning_tokens_per_month", 5))
        lease = await admitted(limiter, who, thinks=True)
        await ends(books, lease, "key_a", day_of(clock()), Usage(1, 0, 9, 5))
        await (await admitted(limiter, who)).release()
        assert (await refused(limiter, who, thinks=True)).limit == "budget"
        await limiter.aclose()

    run(check)


def test_a_budget_that_is_set_while_requests_run_counts_what_was_used_before(run: Run) -> None:
    async def check(make: Make, clock: Clock, books: Books) -> None:
        limiter, account = make(clock, books.read), f"acc_{secrets.token_hex(6)}"
        free, capped = (
            allowance(account=account),
            allowance(TokenBudget("total_tokens_per_day", 50), account=account),
        )
        await ends(books, await admitted(limiter, free), "key_a", day_of(clock()), Usage(20, 0, 20, 0))
        running = await admitted(limiter, free)
        await (await admitted(limiter, capped)).release()
        await ends(books, running, "key_a", day_of(clock()), Usage(5, 0, 5, 0))
        await refused(limiter, capped)
        await (
            await admitted(limiter, replace(free, budgets=(TokenBudget("total_tokens_per_day", 51),)))
        ).release()
        await limiter.aclose()

    run(check)


def test_while_the_ledger_is_away_it_counts_by_itself_and_reads_it_again_later(run: Run) -> None:
    async def check(make: Make, clock: Clock, books: Books) -> None:
        limiter, who = make(clock, books.read), allowance(TokenBudget("total_tokens_per_day", 50))
        books.ended.append(("key_a", day_of(clock()), Usage(45, 0, 0, 0)))
        books.is_away = True
        await (await admitted(limiter, who)).release(Usage(49, 0, 0, 0))
        await (await admitted(limiter, who)).release(Usage(1, 0, 0, 0))
        await refused(limiter, who)
        books.is_away = False
        clock.now_s += FRESH_S
        await refused(limiter, who)  # and reads, in the background
        decided: Lease | LimitRefusal | None = None
        for _ in range(6000):
            if not isinstance(decided := await limiter.admit(who, thinks=False), LimitRefusal):
                break
            await asyncio.sleep(0.01)
        assert decided is not None
        assert not isinstance(decided, LimitRefusal)
        await decided.release(Usage(5, 0, 0, 0))
        await refused(limiter, who)
        await limiter.aclose()

    run(check)


def test_what_ends_during_the_first_reading_is_counted(run: Run) -> None:
    """The ledger was read before it had ended."""

    async def check(make: Make, clock: Clock, books: Books) -> None:
        account = f"acc_{secrets.token_hex(6)}"
        begun, goes_on = asyncio.Event(), asyncio.Event()

        async def read(account_id: str) -> Mapping[str, Spent]:
            spent = await books.read(account_id)
            begun.set()
            await goes_on.wait()
            return spent

        limiter = make(clock, read)
        running = await admitted(limiter, allowance(account=account))
        who = allowance(TokenBudget("total_tokens_per_day", 50), account=account)
        asking = asyncio.create_task(limiter.admit(who, thinks=False))
        await begun.wait()
        await ends(books, running, "key_a", day_of(clock()), Usage(20, 0, 30, 0))
        goes_on.set()
        assert isinstance(await asking, LimitRefusal)
        await limiter.aclose()

    run(check)


@pytest.mark.parametrize("name", ["total_tokens_per_day", "total_tokens_per_month"])
def test_a_day_that_begins_during_the_first_reading_is_read(run: Run, name: str) -> None:
    async def check(make: Make, clock: Clock, books: Books) -> None:
        clock.now_s = datetime(2028, 2, 29, 23, 59, 59, tzinfo=UTC).timestamp()

        async def read(account_id: str) -> Mapping[str, Spent]:
            spent = await books.read(account_id)
            if not books.ended:
                clock.now_s += 1
                books.ended.append(("key_b", "2028-03-01", Usage(60, 0, 0, 0)))  # of another process
            return spent

        limiter = make(clock, read)
        refusal = await refused(limiter, allowance(TokenBudget(name, 60)))
        assert refusal.limit == "budget"
        await limiter.aclose()

    run(check)


@pytest.mark.parametrize("period", PERIODS)
def test_a_budget_that_is_lowered_below_what_was_used_refuses_at_once(run: Run, period: Period) -> None:
    async def check(make: Make, clock: Clock, books: Books) -> None:
        limiter, account = make(clock, books.read), f"acc_{secrets.token_hex(6)}"

        def of(tokens: int) -> Allowance:
            return allowance(TokenBudget(f"total_tokens_per_{period}", tokens), account=account)

        await ends(books, await admitted(limiter, of(100)), "key_a", day_of(clock()), Usage(40, 0, 10, 0))
        for tokens in (50, 49, 0):
            refusal = await refused(limiter, of(tokens))
            assert refusal.budget is not None
            assert refusal.budget.limit_tokens == tokens
        await (await admitted(limiter, of(51))).release()
        await limiter.aclose()

    run(check)


def test_a_request_that_is_withdrawn_or_failed_uses_only_what_it_says(run: Run) -> None:
    async def check(make: Make, clock: Clock, books: Books) -> None:
        limiter, who = make(clock, books.read), allowance(TokenBudget("total_tokens_per_day", 10))
        for _ in range(3):
            await (await admitted(limiter, who)).withdraw()
            await (await admitted(limiter, who)).release()
        await ends(books, await admitted(limiter, who), "key_a", day_of(clock()), Usage(9, 0, 0, 0))
        await ends(books, await admitted(limiter, who), "key_a", day_of(clock()), Usage(1, 0, 0, 0))
        await refused(limiter, who)
        await limiter.aclose()

    run(check)


CONCURRENT = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0, 1, 61, DAY_S]),
        st.integers(0, 2),  # the process
        st.integers(1, 4),  # requests at once
        st.integers(0, 3),  # that end meanwhile
        st.integers(0, 15),  # tokens of each
    ),
    max_size=15,
)


class Cluster:
    """Processes that count in one Redis, and requests of an account with one budget. Readings of the ledger
    take any time, and requests end before, during and after them.
    """

    def __init__(self, url: str, budget: TokenBudget, chance: Random) -> None:
        self.clock = Clock()
        self.books = Books(self.clock)
        self.budget = budget
        self.who = allowance(budget)
        self._chance = chance
        self._running: list[tuple[Lease, str]] = []
        micros = lambda: round(self.clock() * 1e6)  # noqa: E731
        self.processes = [
            RedisLimiter(url, 3, Metrics(), answer_s=60, clock=micros, read_spent=self._read)
            for _ in range(3)
        ]

    async def ask(self, process: int) -> None:
        """A request is never granted what was used up before."""
        was_used_up = self.is_used_up()
        decided = await self.processes[process % 3].admit(self.who, thinks=True)
        if isinstance(decided, LimitRefusal):
            assert decided.limit == "budget"
        else:
            assert not was_used_up
            self._running.append((decided, day_of(self.clock())))

    async def end(self, used: Usage) -> None:
        await asyncio.sleep(self._chance.choice([0, 0, 0.001]))
        if self._running:
            lease, day = self._running.pop(self._chance.randrange(len(self._running)))
            await ends(self.books, lease, "key_a", day, used)

    def is_used_up(self) -> bool:
        return self.books.used(self.budget) >= self.budget.limit_tokens

    async def is_refused(self) -> bool:
        return isinstance(await self.processes[0].admit(self.who, thinks=True), LimitRefusal)

    async def aclose(self) -> None:
        await asyncio.gather(*(process.aclose() for process in self.processes))

    async def _read(self, account_id: str) -> Mapping[str, Spent]:
        spent = await self.books.read(account_id)
        for _ in range(self._chance.randrange(8)):
            await asyncio.sleep(self._chance.choice([0, 0.001]))
        return spent


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(CONCURRENT, st.sampled_from(sorted(BUDGETS)), st.integers(0, 60), st.integers(0, 2**32).map(Random))
def test_processes_with_redis_never_grant_what_was_used_up_before(
    redis_server: RedisServer, steps: list[Any], name: str, limit: int, chance: Random
) -> None:
    async def check(cluster: Cluster) -> None:
        for gap, first, n_asking, n_ending, n_tokens in steps:
            cluster.clock.now_s += gap
            used = Usage(n_tokens, 0, n_tokens, n_tokens)
            asking = [cluster.ask(first + i) for i in range(n_asking)]
            await asyncio.gather(*asking, *(cluster.end(used) for _ in range(n_ending)))
        # In the end, when the ledger was read again in the background, nothing is refused in vain.
        cluster.clock.now_s += FRESH_S
        for _ in range(6000):
            if await cluster.is_refused() == cluster.is_used_up():
                return
            await asyncio.sleep(0.01)
        pytest.fail("what is refused is not what is used up")

    async def closing() -> None:
        cluster = Cluster(redis_server.url, TokenBudget(name, limit), chance)
        try:
            await check(cluster)
        finally:
            await cluster.aclose()

    asyncio.run(closing())


def test_it_is_read_once_a_minute_however_many_ask(run: Run) -> None:
    async def check(make: Make, clock: Clock, books: Books) -> None:
        limiter, who = make(clock, books.read), allowance(TokenBudget("total_tokens_per_day", 50))
        await (await admitted(limiter, who)).release()
        before = books.n_readings
        for _ in range(3):
            clock.now_s += FRESH_S
            leases = await asyncio.gather(*(admitted(limiter, who) for _ in range(20)))
            await asyncio.gather(*(lease.release() for lease in leases))
            await asyncio.sleep(0.01)
        assert books.n_readings - before == 3
        await limiter.aclose()

    run(check)


@pytest.mark.parametrize("n", [2, 4])
def test_processes_without_redis_use_no_more_than_is_left(n: int) -> None:
    async def check() -> None:
        clock = Clock()
        books = Books(clock)
        who = allowance(TokenBudget("total_tokens_per_day", 200))
        limiters = [MemoryLimiter(n, clock, clock, books.read) for _ in range(n)]
        books.ended.append(("key_a", day_of(clock()), Usage(100, 0, 0, 0)))
        for _ in range(10):
            for limiter in limiters:
                while not isinstance(lease := await limiter.admit(who, thinks=False), LimitRefusal):
                    await ends(books, lease, "key_a", day_of(clock()), Usage(1, 0, 0, 0))
            clock.now_s += FRESH_S
            await asyncio.gather(*(limiter.admit(who, thinks=False) for limiter in limiters))
        used = sum(used.total_tokens for _, _, used in books.ended)
        assert 200 <= used < 200 + n
        for limiter in limiters:
            await limiter.aclose()

    asyncio.run(check())


def test_processes_with_redis_use_it_together(redis_server: RedisServer) -> None:
    async def check() -> None:
        clock = Clock()
        books = Books(clock)
        who = allowance(TokenBudget("total_tokens_per_day", 100))
        limiters = [
            RedisLimiter(redis_server.url, 4, Metrics(), answer_s=60, read_spent=books.read) for _ in range(4)
        ]
        n_admitted = 0
        for i in range(140):
            lease = await limiters[i % 4].admit(who, thinks=False)
            if not isinstance(lease, LimitRefusal):
                n_admitted += 1
                await lease.release(Usage(1, 0, 0, 0))
        assert n_admitted == 100
        with redis.Redis.from_url(redis_server.url) as watch:
            keys = list(watch.scan_iter(f"*{who.account_id}*"))
            assert all(0 < watch.ttl(key) <= 172_800 for key in keys)
        for limiter in limiters:
            await limiter.aclose()

    asyncio.run(check())
