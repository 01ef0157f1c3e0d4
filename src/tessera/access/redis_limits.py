"""An account's limits for several processes: counted in Redis, or Valkey, by `redis_scripts`.

Each choice of a request holds a lease. Leases expire if they are not renewed: those of a process that was
killed are free again after `LEASE_S`. While Redis does not answer in time, each process counts for itself and
grants its share of each limit.
"""

import asyncio
import itertools
import logging
import secrets
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError

from tessera.access.limits import Allowance, Limit, LimitRefusal, MemoryLease, MemoryLimiter
from tessera.access.redis_scripts import ADMIT, SETTLE
from tessera.access.window import Standing
from tessera.observe.logs import log
from tessera.observe.metrics import Metrics

T = TypeVar("T")

_logger = logging.getLogger(__name__)

ANSWER_S = 0.5
"""The timeout of a call. It is much longer than Redis ever needs: if the event loop was too busy to read a
reply in time, Redis and this process would both count the request.
"""

LEASE_S = 60.0
RENEWAL_S = 20.0
FIRST_PAUSE_S = 0.5
LAST_PAUSE_S = 15.0
_MAX_CONNECTIONS = 32
_LIMITS: tuple[Limit, ...] = ("rate", "concurrency", "thinking")


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
    ) -> None:
        """Connects with the first call. Raises `ValueError` for a URL, or an option in it, that is invalid.
        `clock` returns microseconds; '' stands for the clock of the Redis server.
        """
        try:
            self._redis = _client(url, answer_s)
            self._admit = self._redis.register_script(ADMIT)
            self._settle = self._redis.register_script(SETTLE)
        except Exception:  # of any class; its message may hold parts of a password
            raise ValueError("not the URL of a Redis") from None
        self._lease_us = round(lease_s * 1e6)
        self._renewal_s = renewal_s
        self._clock = clock
        self._answer_s = answer_s
        self._name = secrets.token_hex(8)
        self._numbers = itertools.count()
        self._held: dict[str, set[str]] = {}
        self._renewing: asyncio.Task[None] | None = None
        self._is_closing = False
        self._ending: set[asyncio.Task[Any]] = set()
        self._local = MemoryLimiter(n)
        self._fallback = metrics.limiter_fallback
        self._down = False
        self._ask_at_s = 0.0
        self._pause_s = FIRST_PAUSE_S

    async def admit(
        self, who: Allowance, *, thinks: bool, n_choices: int = 1
    ) -> "RedisLease | MemoryLease | LimitRefusal":
        lease = f"{self._name}-{next(self._numbers)}"
        leases = (lease, *(f"{lease}:{i}" for i in range(1, n_choices)))
        try:
            reply = await self._judge(who, leases, thinks=thinks)
        except asyncio.CancelledError:
            self._finish_later(self._stand(who, without=leases))  # Redis may have counted the request
            raise
        if reply is None:
            return await self._local.admit(who, thinks=thinks, n_choices=n_choices)
        limit, wait_s, remaining, reset_s = reply
        standing = Standing(who.rate.sustained, remaining, reset_s)
        if limit:
            return LimitRefusal(_LIMITS[limit - 1], standing, wait_s)
        self._held.setdefault(who.account_id, set()).update(leases)
        if self._renewing is None:
            self._renewing = asyncio.create_task(self._renew())
        return RedisLease(self, who, leases, standing)

    async def standing(self, who: Allowance) -> Standing:
        return await self._stand(who) or await self._local.standing(who)

    async def answers(self) -> bool:
        """Whether Redis can be used now, which a command asks before it starts servers."""
        try:
            async with asyncio.timeout(self._answer_s):
                await self._redis.time()  # pyright: ignore[reportUnknownMemberType]
        except Exception:  # of any class; its message may hold parts of a password
            return False
        return True

    async def release(self, account_id: str, leases: Sequence[str], thinking_tokens: int) -> None:
        """Ends the request's leases, in Redis too, even if the calling task is cancelled. If Redis cannot be
        reached, they expire there.
        """
        self._forget(account_id, leases)
        await asyncio.shield(self._finish_later(self._spend(account_id, leases, thinking_tokens)))

    async def withdraw(self, who: Allowance, leases: Sequence[str]) -> Standing | None:
        """A request has ended and is not counted any more; None if Redis does not answer."""
        self._forget(who.account_id, leases)
        return await asyncio.shield(self._finish_later(self._stand(who, without=leases)))

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

    async def _spend(self, account_id: str, leases: Sequence[str], thinking_tokens: int) -> None:
        if await self._ask(self._settle, account_id, thinking_tokens, 0, *leases) is None:
            self._local.spend(account_id, thinking_tokens)

    async def aclose(self) -> None:
        self._is_closing = True
        if self._renewing:
            self._renewing.cancel()
        await asyncio.gather(*filter(None, (self._renewing, *self._ending)), return_exceptions=True)
        with suppress(RedisError, OSError):
            await self._redis.aclose(close_connection_pool=True)

    async def _stand(self, who: Allowance, *, without: Sequence[str] = ("",)) -> Standing | None:
        reply = await self._judge(who, thinks=False, without=without)
        return Standing(who.rate.sustained, *reply[2:]) if reply else None

    async def _judge(
        self,
        who: Allowance,
        leases: Sequence[str] = ("",),
        *,
        thinks: bool,
        without: Sequence[str] = ("",),
    ) -> list[int] | None:
        quota = who.tier.thinking_tokens_per_day if thinks else None
        rate = (who.rate.sustained, who.rate.burst, who.rate.burst_seconds)
        beside = (who.tier.concurrency, "" if quota is None else quota, self._lease_us)
        more = (without[0], *leases[1:], *without[1:])
        reply = await self._ask(self._admit, who.account_id, leases[0], *rate, *beside, *more)
        return cast("list[int] | None", reply)

    async def _renew(self) -> None:
        """Renews the leases that are held, until cancelled."""
        # Under Python 3.11 a cancellation that meets redis-py's `asyncio.wait_for` can be lost.
        while not self._is_closing:
            await asyncio.sleep(self._renewal_s)
            for account_id, leases in list(self._held.items()):
                await self._ask(self._settle, account_id, 0, self._lease_us, *leases)

    async def _ask(self, script: AsyncScript, account_id: str, *arguments: int | str) -> object | None:
        """The script's result; None if Redis does not answer in time, or did not a moment ago."""
        now_s = time.monotonic()
        if now_s < self._ask_at_s:
            return None
        if tries := self._down:
            # Until this attempt has ended, other requests do not wait for Redis.
            self._ask_at_s = now_s + 2 * self._answer_s
        keys = [f"tessera:{{{account_id}}}:{part}" for part in ("accepted", "bursts", "leases", "day")]
        try:
            async with asyncio.timeout(self._answer_s):
                reply = await script(keys, [self._clock(), *arguments])
        except Exception as error:  # of any class: no request fails because of Redis
            self._fall_back(error, tries=tries)
            return None
        if self._down:
            self._turn(down=False)
            log(_logger, "info", "redis answers again")
        return reply

    def _fall_back(self, error: Exception, *, tries: bool) -> None:
        """Pauses before Redis is asked again; the pause doubles if this was an attempt to reach it again."""
        if not self._down:
            self._turn(down=True)
            log(_logger, "warning", "redis does not answer: each process counts", error=type(error).__name__)
        elif not tries:
            return
        self._ask_at_s = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, LAST_PAUSE_S)

    def _turn(self, *, down: bool) -> None:
        self._down = down
        self._ask_at_s = 0.0
        self._pause_s = FIRST_PAUSE_S
        self._fallback.set(int(down))


@dataclass(slots=True)
class RedisLease:
    """A `Lease` that Redis counts. `leases` is empty when it has ended."""

    limiter: RedisLimiter
    who: Allowance
    leases: Sequence[str]
    standing: Standing

    async def release(self, thinking_tokens: int = 0) -> None:
        leases, self.leases = self.leases, ()
        if leases:
            await self.limiter.release(self.who.account_id, leases, thinking_tokens)

    async def withdraw(self) -> None:
        leases, self.leases = self.leases, ()
        if leases:
            self.standing = await self.limiter.withdraw(self.who, leases) or self.standing


def _client(url: str, answer_s: float) -> Redis:
    pool = BlockingConnectionPool.from_url(  # pyright: ignore[reportUnknownMemberType]
        url,
        max_connections=_MAX_CONNECTIONS,
        timeout=answer_s,
        socket_timeout=answer_s,
        socket_connect_timeout=answer_s,
        retry=Retry(NoBackoff(), 0),
        driver_info=None,  # else the library reads files to find its version, in the event loop
    )
    pool.make_connection()  # raises now for an option that it does not know, not at the first request
    return Redis(connection_pool=pool)
