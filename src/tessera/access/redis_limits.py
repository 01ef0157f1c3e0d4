"""An account's limits for several processes: counted in Redis, or Valkey, by `redis_scripts`.

Each choice of a request holds a lease. Leases expire if they are not renewed: those of a process that was
killed are free again after `LEASE_S`. What an account has spent of its budgets is read from the ledger once a
minute by one of the processes, and counted in Redis between these readings. While Redis does not answer in
time, each process counts for itself and grants its share of each limit. What an account used meanwhile is
read from the ledger when Redis is back, before anything more is granted of its budgets.
"""

import asyncio
import itertools
import secrets
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from tessera.access.limits import (
    Allowance,
    Limit,
    LimitRefusal,
    MemoryLease,
    MemoryLimiter,
    refused_by,
)
from tessera.access.redis_calls import RedisCalls
from tessera.access.redis_fields import budgets_asked, fields_read, usage_spent
from tessera.access.redis_scripts import ADMIT, SETTLE, SPENT
from tessera.access.spending import FRESH_S, RETRY_S, ReadSpent, nothing_spent, spent_or_none
from tessera.access.window import Standing
from tessera.core.budgets import TokenBudget
from tessera.core.usage import NOTHING_USED, Usage, day_of
from tessera.observe.metrics import Metrics

T = TypeVar("T")

ANSWER_S = 0.5
"""The timeout of a call. It is much longer than Redis ever needs: if the event loop was too busy to read a
reply in time, Redis and this process would both count the request.
"""

LEASE_S = 60.0
RENEWAL_S = 20.0
_LIMITS: tuple[Limit, ...] = ("rate", "concurrency", "thinking", "budget")
_MUST_READ = 5  # what the account has spent is not known yet


class RedisLimiter:
    """A `Limiter` for all processes that use the same Redis; `n` of them are this server's."""

    def __init__(
        self,
        url: str,
        n: int,
        metrics: Metrics,
        *,
        lease_s: float = LEASE_S,
        renewal_s: float = RENEWAL_S,
        answer_s: float = ANSWER_S,
        clock: Callable[[], int | str] = lambda: "",
        read_spent: ReadSpent = nothing_spent,
    ) -> None:
        """Connects with the first call. Raises `ValueError` for a URL, or an option in it, that is invalid.
        `clock` returns microseconds; '' stands for the clock of the Redis server.
        """
        try:
            self._calls = RedisCalls(url, metrics, answer_s=answer_s, clock=clock)
            self._admit, self._settle, self._spent = map(self._calls.script, (ADMIT, SETTLE, SPENT))
        except Exception:  # of any class; its message may hold parts of a password
            raise ValueError("not the URL of a Redis") from None
        self._lease_us = round(lease_s * 1e6)
        self._renewal_s = renewal_s
        self._clock = clock
        self._read = read_spent
        self._name = secrets.token_hex(8)
        self._numbers = itertools.count()
        self._held: dict[str, set[str]] = {}
        self._renewing: asyncio.Task[None] | None = None
        self._is_closing = False
        self._ending: set[asyncio.Task[Any]] = set()
        self._unknown: set[str] = set()  # accounts of which Redis does not know all that was spent
        self._local = MemoryLimiter(n, read_spent=read_spent, spends=self._unknown.add)

    async def admit(
        self, who: Allowance, *, thinks: bool, n_choices: int = 1, lease: str | None = None
    ) -> "RedisLease | MemoryLease | LimitRefusal":
        lease = lease or f"{self._name}-{next(self._numbers)}"
        leases = (lease, *(f"{lease}:{i}" for i in range(1, n_choices)))
        budgets = tuple(each for each in who.budgets if thinks or each.counted != "reasoning")
        try:
            again = who.account_id in self._unknown
            reply = await self._judge(who, leases, thinks=thinks, budgets=budgets, again=again)
            for _ in range(2):  # once more if the day changes meanwhile
                if not reply or reply[0] != _MUST_READ:
                    break
                await self._read_spent(who.account_id, is_first=True)
                reply = await self._judge(who, leases, thinks=thinks, budgets=budgets)
        except asyncio.CancelledError:
            self._finish_later(self._stand(who, without=leases))  # Redis may have counted the request
            raise
        if reply is None or reply[0] == _MUST_READ:
            return await self._local.admit(who, thinks=thinks, n_choices=n_choices)
        limit, wait_s, remaining, reset_s, is_old = reply
        if is_old:
            self._finish_later(self._read_spent(who.account_id, is_first=False))
        standing = Standing(who.rate.sustained, remaining, reset_s)
        if limit and _LIMITS[limit - 1] == "budget":
            return refused_by(budgets[wait_s - 1], standing, self._now_s())
        if limit:
            return LimitRefusal(_LIMITS[limit - 1], standing, wait_s)
        self._held.setdefault(who.account_id, set()).update(leases)
        if self._renewing is None:
            self._renewing = asyncio.create_task(self._renew())
        return RedisLease(self, who, leases, standing, self._now_s())

    async def standing(self, who: Allowance) -> Standing:
        return await self._stand(who) or await self._local.standing(who)

    async def answers(self) -> bool:
        """Whether Redis can be used now, which a command asks before it starts servers."""
        return await self._calls.answers()

    async def release(self, lease: "RedisLease", leases: Sequence[str], used: Usage) -> None:
        """Ends the request's leases, in Redis too, even if the calling task is cancelled. If Redis cannot be
        reached, they expire there.
        """
        self._forget(lease.who.account_id, leases)
        await asyncio.shield(self._finish_later(self._spend(lease, leases, used)))

    async def withdraw(self, who: Allowance, leases: Sequence[str]) -> Standing | None:
        """A request has ended and is not counted any more; None if Redis does not answer."""
        self._forget(who.account_id, leases)
        return await asyncio.shield(self._finish_later(self._stand(who, without=leases)))

    async def aclose(self) -> None:
        self._is_closing = True
        if self._renewing:
            self._renewing.cancel()
        await asyncio.gather(*filter(None, (self._renewing, *self._ending)), return_exceptions=True)
        await self._local.aclose()
        await self._calls.aclose()

    def _forget(self, account_id: str, leases: Sequence[str]) -> None:
        held = self._held[account_id]
        held.difference_update(leases)
        if not held:
            del self._held[account_id]

    def _finish_later(self, ending: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(ending)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return task

    async def _spend(self, lease: "RedisLease", leases: Sequence[str], used: Usage) -> None:
        who = lease.who
        spent = usage_spent(who.key_id, day_of(lease.begun_s), used)
        asked = self._calls.ask(self._settle, who.account_id, used.reasoning_tokens, 0, spent, *leases)
        if await asked is None:
            self._local.spend(who, lease.begun_s, used)

    async def _read_spent(self, account_id: str, *, is_first: bool) -> None:
        """Reads what the account has spent. If that fails, it counts as nothing before the next attempt, or
        as what was counted so far if this is not the first reading of the day.
        """
        day = day_of(self._now_s())
        self._unknown.discard(account_id)
        read = await spent_or_none(self._read, account_id)
        if read is not None:
            if await self._calls.ask(self._spent, account_id, day, 0, 0, *fields_read(read)) is None:
                self._unknown.add(account_id)
        elif is_first:
            late_us = round((FRESH_S - RETRY_S) * 1e6)
            await self._calls.ask(self._spent, account_id, day, late_us, 1)

    async def _stand(self, who: Allowance, *, without: Sequence[str] = ("",)) -> Standing | None:
        reply = await self._judge(who, thinks=False, without=without)
        return Standing(who.rate.sustained, *reply[2:4]) if reply else None

    async def _judge(
        self,
        who: Allowance,
        leases: Sequence[str] = ("",),
        *,
        thinks: bool,
        budgets: Sequence[TokenBudget] = (),
        again: bool = False,
        without: Sequence[str] = ("",),
    ) -> list[int] | None:
        quota = who.tier.thinking_tokens_per_day if thinks else None
        rate = (who.rate.sustained, who.rate.burst, who.rate.burst_seconds)
        beside = (who.tier.concurrency, "" if quota is None else quota, self._lease_us)
        asked = budgets_asked(budgets, day_of(self._now_s()), again=again)
        more = (without[0], asked, *leases[1:], *without[1:])
        reply = await self._calls.ask(self._admit, who.account_id, leases[0], *rate, *beside, *more)
        return cast("list[int] | None", reply)

    async def _renew(self) -> None:
        """Renews the leases that are held, until cancelled."""
        # Under Python 3.11 a cancellation that meets redis-py's `asyncio.wait_for` can be lost.
        while not self._is_closing:
            await asyncio.sleep(self._renewal_s)
            for account_id, leases in list(self._held.items()):
                await self._calls.ask(self._settle, account_id, 0, self._lease_us, "", *leases)

    def _now_s(self) -> float:
        """The Unix time, which decides the day and the month of a request."""
        now_us = self._clock()
        return now_us / 1e6 if isinstance(now_us, int) else time.time()


@dataclass(slots=True)
class RedisLease:
    """A `Lease` that Redis counts. `leases` is empty when it has ended."""

    limiter: RedisLimiter
    who: Allowance
    leases: Sequence[str]
    standing: Standing
    begun_s: float

    async def release(self, used: Usage = NOTHING_USED) -> None:
        leases, self.leases = self.leases, ()
        if leases:
            await self.limiter.release(self, leases, used)

    async def withdraw(self) -> None:
        leases, self.leases = self.leases, ()
        if leases:
            self.standing = await self.limiter.withdraw(self.who, leases) or self.standing
