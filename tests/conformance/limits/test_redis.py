"""What Redis adds: several processes, leases that end by themselves, and what happens without it."""

import asyncio
import random
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from tests.conformance.limits.test_limiters import thought
from tests.redis_server import RedisServer

from tessera.access.limits import Allowance, LimitRefusal, MemoryLease
from tessera.access.redis_limits import RedisLease, RedisLimiter
from tessera.access.tiers import DEFAULTS
from tessera.access.window import Rate
from tessera.core.budgets import Spent, TokenBudget
from tessera.core.usage import Usage
from tessera.observe.metrics import Metrics

HOLD = Path(__file__).with_name("hold.py")
TIER = DEFAULTS["scale"]


def new_account() -> str:
    return f"acc_{secrets.token_hex(6)}"


@pytest.fixture
def watch(redis_server: RedisServer) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(redis_server.url) as client:
        yield client


def holding(server: RedisServer, account: str, n_tries: int) -> "subprocess.Popen[str]":
    command = [sys.executable, str(HOLD), server.url, account, str(n_tries)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def leases(watch: "redis.Redis", account: str) -> int:
    return watch.zcard(f"tessera:{{{account}}}:leases")


def test_four_processes_give_what_the_tier_allows_and_no_more(redis_server: RedisServer) -> None:
    account = new_account()
    processes = [holding(redis_server, account, 30) for _ in range(4)]
    counts = []
    for process in processes:
        with process:
            assert process.stdout is not None
            counts.append(int(process.stdout.readline()))
            process.kill()
    assert sum(counts) == 50
    assert min(counts) < 30


async def until_admitted(limiter: RedisLimiter, who: Allowance) -> None:
    async with asyncio.timeout(60):
        while isinstance(decided := await limiter.admit(who, thinks=False), LimitRefusal):
            assert decided.limit == "concurrency"
            await asyncio.sleep(0.02)


def test_leases_of_a_killed_process_end_by_themselves(
    redis_server: RedisServer, watch: "redis.Redis"
) -> None:
    async def check() -> None:
        account = new_account()
        process = await asyncio.to_thread(holding, redis_server, account, 3)
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "3\n"
        limiter = RedisLimiter(redis_server.url, 1, Metrics(), answer_s=60)
        tier = DEFAULTS["lite"]
        held = await limiter.admit(Allowance(account, tier, Rate(40, 50)), thinks=False)
        assert isinstance(held, RedisLease)
        await asyncio.sleep(3)  # more than a lease lasts: it is renewed
        refusal = await limiter.admit(Allowance(account, tier, Rate(40, 50)), thinks=False)
        assert isinstance(refusal, LimitRefusal)
        assert refusal.limit == "concurrency"
        process.kill()
        await until_admitted(limiter, Allowance(account, tier, Rate(40, 50)))
        assert leases(watch, account) == 2
        await limiter.aclose()
        await asyncio.to_thread(process.communicate)

    asyncio.run(check())


@pytest.mark.parametrize("n_choices", [1, 3])
def test_a_lease_of_a_lost_process_is_taken_over_and_counted_once(
    redis_server: RedisServer, watch: "redis.Redis", n_choices: int
) -> None:
    async def check() -> None:
        account = new_account()
        who = Allowance(account, TIER, Rate(1, 1))
        lost, other = (RedisLimiter(redis_server.url, 1, Metrics(), answer_s=60) for _ in range(2))
        first = await lost.admit(who, thinks=False, n_choices=n_choices, lease="chatcmpl-1")
        assert isinstance(first, RedisLease)
        again = await other.admit(who, thinks=False, n_choices=n_choices, lease="chatcmpl-1")
        assert isinstance(again, RedisLease)
        assert leases(watch, account) == n_choices
        refusal = await other.admit(who, thinks=False, lease="chatcmpl-2")
        assert isinstance(refusal, LimitRefusal)
        assert refusal.limit == "rate"
        await again.release()
        assert leases(watch, account) == 0
        used = await other.admit(who, thinks=False, lease="chatcmpl-1")
        assert isinstance(used, LimitRefusal)  # it was given back: this is another request
        for limiter in (lost, other):
            await limiter.aclose()

    asyncio.run(check())


def test_a_release_that_is_cancelled_is_a_release(redis_server: RedisServer, watch: "redis.Redis") -> None:
    async def check() -> None:
        limiter = RedisLimiter(redis_server.url, 1, Metrics(), answer_s=60)
        account = new_account()
        held = await limiter.admit(Allowance(account, TIER, TIER.rate), thinks=True)
        assert isinstance(held, RedisLease)
        releasing = asyncio.create_task(held.release(thought(7)))
        await asyncio.sleep(0)
        releasing.cancel()
        await asyncio.gather(releasing, return_exceptions=True)
        await limiter.aclose()
        assert leases(watch, account) == 0
        assert watch.hget(f"tessera:{{{account}}}:day", "thought") == b"7"

    asyncio.run(check())


@pytest.mark.parametrize("n_choices", [1, 3])
@pytest.mark.parametrize("n_steps", [0, 1, 2, 3, 5, 10, 40])
def test_a_request_that_is_cancelled_while_redis_counts_it_leaves_no_lease(
    redis_server: RedisServer, watch: "redis.Redis", n_choices: int, n_steps: int
) -> None:
    async def check() -> None:
        account = new_account()
        who = Allowance(account, TIER, TIER.rate)
        limiter = RedisLimiter(redis_server.url, 1, Metrics(), answer_s=60)
        await limiter.standing(who)  # the script is known there, and there is a connection
        assert redis_server.process is not None
        redis_server.process.send_signal(signal.SIGSTOP)
        admitting = asyncio.create_task(limiter.admit(who, thinks=False, n_choices=n_choices))
        for _ in range(n_steps):
            await asyncio.sleep(0.001)
        admitting.cancel()
        await asyncio.sleep(0)
        redis_server.process.send_signal(signal.SIGCONT)
        (decided,) = await asyncio.gather(admitting, return_exceptions=True)
        if isinstance(decided, RedisLease):  # Python 3.11 loses a cancellation at times (wait_for)
            await decided.release()
        await limiter.aclose()
        assert leases(watch, account) == 0

    asyncio.run(check())


def test_each_choice_holds_a_lease_that_is_renewed(redis_server: RedisServer, watch: "redis.Redis") -> None:
    async def check() -> None:
        limiter = RedisLimiter(redis_server.url, 1, Metrics(), lease_s=2.0, renewal_s=0.2, answer_s=60)
        account = new_account()
        held = await limiter.admit(Allowance(account, TIER, TIER.rate), thinks=False, n_choices=8)
        assert isinstance(held, RedisLease)
        await asyncio.sleep(3)  # more than a lease lasts
        refusal = await limiter.admit(
            Allowance(account, DEFAULTS["pro"], TIER.rate), thinks=False, n_choices=9
        )
        assert isinstance(refusal, LimitRefusal)
        assert leases(watch, account) == 8
        await held.release()
        await held.release()
        assert leases(watch, account) == 0
        await limiter.aclose()

    asyncio.run(check())


def test_closing_ends_the_renewal_whatever_it_is_doing(redis_server: RedisServer) -> None:
    """Under Python 3.11 a cancellation that comes while Redis is written to can be lost."""

    async def check() -> None:
        chance = random.Random(5)
        for _ in range(40):
            limiter = RedisLimiter(redis_server.url, 1, Metrics(), renewal_s=0.0005, answer_s=60)
            held = await limiter.admit(Allowance(new_account(), TIER, TIER.rate), thinks=False)
            assert isinstance(held, RedisLease)
            await asyncio.sleep(chance.uniform(0, 0.004))
            time.sleep(0.001)  # noqa: ASYNC251 - the loop finds the timer and the answer ready at once
            async with asyncio.timeout(60):
                await limiter.aclose()

    asyncio.run(check())


def test_everything_it_keeps_ends(redis_server: RedisServer, watch: "redis.Redis") -> None:
    async def check() -> None:
        limiter = RedisLimiter(redis_server.url, 1, Metrics(), answer_s=60)
        account = new_account()
        who = Allowance(account, TIER, Rate(1, 5))
        held = [await limiter.admit(who, thinks=True) for _ in range(3)]
        keys = list(watch.scan_iter(f"*{account}*"))
        assert len(keys) == 4
        assert all(0 < watch.ttl(key) <= 172_800 for key in keys)
        for each in held:
            assert isinstance(each, RedisLease)
            await each.release(thought(5))
        assert leases(watch, account) == 0
        await limiter.aclose()

    asyncio.run(check())


def test_what_a_wrong_clock_counted_is_forgotten_when_it_is_put_right(redis_server: RedisServer) -> None:
    now_us = 1_700_000_000_000_000

    async def check() -> None:
        nonlocal now_us
        limiter = RedisLimiter(redis_server.url, 1, Metrics(), answer_s=60, clock=lambda: now_us)
        who = Allowance(new_account(), replace(TIER, concurrency=5), Rate(2, 3, burst_seconds=1))
        now_us += 1_000_000_000
        for _ in range(3):
            assert not isinstance(await limiter.admit(who, thinks=False), LimitRefusal)
        for step_us in (-60_000_000, -940_000_000, 60_000_000):
            now_us += step_us
            given = [await limiter.admit(who, thinks=False) for _ in range(4)]
            if step_us == -60_000_000:
                assert all(isinstance(each, LimitRefusal) for each in given)
                continue
            leases = [each for each in given if not isinstance(each, LimitRefusal)]
            assert len(leases) == (3 if step_us < 0 else 2)
            for each in leases:
                await each.release()
        await limiter.aclose()

    asyncio.run(check())


def test_without_redis_each_process_gives_its_share_and_with_it_again_the_whole(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = Metrics()
    caplog.set_level("INFO")

    def fallback() -> float | None:
        return metrics.registry.get_sample_value("tessera_limiter_fallback")

    async def admitted(limiter: RedisLimiter, who: Allowance) -> list[RedisLease | MemoryLease]:
        given: list[RedisLease | MemoryLease] = []
        while not isinstance(decided := await limiter.admit(who, thinks=False), LimitRefusal):
            given.append(decided)
        assert decided.limit == "rate"
        return given

    async def check() -> None:
        limiter = RedisLimiter(redis_server.url, 4, metrics, answer_s=600)
        who = Allowance(new_account(), TIER, Rate(8, 12))
        given = await admitted(limiter, who)
        assert len(given) == 12
        redis_server.stop()
        async with asyncio.timeout(60):  # what is not there is not waited for
            local = await admitted(limiter, who)
        assert (len(local), fallback()) == (3, 1)
        assert (await limiter.standing(who)).remaining == 0
        for each in (*given, *local):
            await each.release(thought(7))
        await asyncio.to_thread(redis_server.start)
        async with asyncio.timeout(60):
            while fallback():
                await limiter.standing(who)
                await asyncio.sleep(0.05)
        assert len(await admitted(limiter, who)) == 12
        await limiter.aclose()

    asyncio.run(check())
    said = [record.getMessage() for record in caplog.records if "redis" in record.getMessage()]
    assert len(said) == 2


def test_what_was_spent_while_redis_was_away_is_known_when_it_is_back(redis_server: RedisServer) -> None:
    ended: list[Usage] = []
    metrics = Metrics()

    async def read(account_id: str) -> dict[str, Spent]:
        used = sum(ended, Usage())
        return {"key": Spent(used, used)}

    async def check() -> None:
        limiter = RedisLimiter(redis_server.url, 1, metrics, answer_s=600, read_spent=read)
        budget = TokenBudget("total_tokens_per_day", 100)
        who = Allowance(new_account(), TIER, TIER.rate, "key", (budget,))

        async def begin() -> RedisLease | MemoryLease:
            decided = await limiter.admit(who, thinks=False)
            assert not isinstance(decided, LimitRefusal)
            return decided

        async def end(lease: RedisLease | MemoryLease, n_tokens: int) -> None:
            ended.append(Usage(n_tokens))
            await lease.release(Usage(n_tokens))

        await end(await begin(), 10)
        before = await begin()
        redis_server.stop()
        await end(await begin(), 30)
        during = await begin()
        await end(before, 20)
        await asyncio.to_thread(redis_server.start)
        async with asyncio.timeout(60):
            while not isinstance(await limiter.admit(who, thinks=False), RedisLease):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await end(during, 40)
        refused = await limiter.admit(who, thinks=False)
        assert isinstance(refused, LimitRefusal)
        assert refused.budget == budget
        await limiter.aclose()

    asyncio.run(check())


def test_a_busy_event_loop_is_not_taken_for_a_redis_that_is_away(redis_server: RedisServer) -> None:
    metrics, chance = Metrics(), random.Random(3)

    async def be_busy(asked: asyncio.Event) -> None:
        """Blocks the loop at random moments, mostly while Redis is asked."""
        while await asked.wait():
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            time.sleep(0.3)  # noqa: ASYNC251 - that is what it is about
            await asyncio.sleep(chance.uniform(0.03, 0.1))
            asked.clear()

    async def check() -> None:
        limiters = [RedisLimiter(redis_server.url, 2, metrics) for _ in range(2)]
        who = Allowance(new_account(), TIER, Rate(9, 12))

        async def ask(limiter: RedisLimiter) -> int:
            decided = []
            for _ in range(4):
                await asyncio.sleep(chance.uniform(0, 0.1))
                asked.set()
                decided.append(await limiter.admit(who, thinks=False))
            return sum(not isinstance(each, LimitRefusal) for each in decided)

        asked = asyncio.Event()
        busy = asyncio.create_task(be_busy(asked))
        assert sum(await asyncio.gather(*(ask(limiter) for limiter in limiters for _ in range(4)))) == 12
        busy.cancel()
        for limiter in limiters:
            await limiter.aclose()

    asyncio.run(check())
    assert metrics.registry.get_sample_value("tessera_limiter_fallback") == 0


def test_a_redis_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    metrics = Metrics()

    async def check() -> None:
        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(asyncio.CancelledError):
                await reader.read()
            writer.close()

        path = tmp_path / "s"
        async with await asyncio.start_unix_server(silent, path):
            limiter = RedisLimiter(f"unix://{path}", 1, metrics, answer_s=1)
            who = Allowance("acc", TIER, TIER.rate)
            begun = asyncio.get_running_loop().time()
            decided = await asyncio.gather(*(limiter.admit(who, thinks=False) for _ in range(50)))
            assert all(isinstance(each, MemoryLease) for each in decided)
            assert isinstance(await limiter.admit(who, thinks=False), MemoryLease)
            # One after the other they would wait for 50 seconds.
            assert asyncio.get_running_loop().time() - begun < 25
            await limiter.aclose()

    asyncio.run(check())
    assert metrics.registry.get_sample_value("tessera_limiter_fallback") == 1


@pytest.mark.parametrize(
    "option", ["ssl=true", "foo=bar", "retry=1", "protocol=7", "encoding=none", "timeout=x"]
)
def test_an_option_that_cannot_be_is_known_at_the_start(option: str) -> None:
    with pytest.raises(ValueError, match="URL") as raised:
        RedisLimiter(f"redis://user:secret@127.0.0.1:6379/0?{option}", 1, Metrics())
    assert raised.value.__suppress_context__  # a message of the library may hold parts of a password


def test_whatever_the_library_raises_each_process_counts(redis_server: RedisServer) -> None:
    async def check() -> None:
        limiter = RedisLimiter(f"{redis_server.url}?event_dispatcher=none", 1, Metrics())
        who = Allowance(new_account(), TIER, TIER.rate)
        decided = await limiter.admit(who, thinks=False)
        assert isinstance(decided, MemoryLease)
        assert await limiter.standing(who) == decided.standing
        await decided.release(thought(3))
        await limiter.aclose()

    asyncio.run(check())
