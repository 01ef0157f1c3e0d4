"""An account's limits for several processes: counted in Redis, or Valkey, by the rule of `window`.

One script decides and counts, so nothing comes between. It reads the server's clock, which every process
shares, and which here never goes back. Times are whole microseconds.

If Redis does not answer, or not in time, each process counts for itself and gives its share, until it is
asked again and answers. Leases end by themselves when nobody renews them: those of a process that was killed
are free again after `LEASE_S`.
"""

import asyncio
import itertools
import logging
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError

from tessera.access.limits import Allowance, Limit, MemoryLease, MemoryLimiter, Refusal
from tessera.access.window import Standing
from tessera.metrics import Metrics
from tessera.telemetry import log

_logger = logging.getLogger(__name__)

ANSWER_S = 0.5
"""Redis is away when it takes longer. Much more than it ever needs: a reply that is there counts as late if
the event loop was too busy to read it, and then two count the same request.
"""

LEASE_S, RENEWAL_S = 60.0, 20.0
FIRST_PAUSE_S, LAST_PAUSE_S = 0.5, 15.0
_MAX_CONNECTIONS = 32
_LIMITS: tuple[Limit, ...] = ("rate", "concurrency", "thinking")

# KEYS: accepted, bursts, leases, day. `seen` is the latest time: a clock that goes back stands still.
_CLOCK = """
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
now = math.max(now, tonumber(redis.call('HGET', KEYS[4], 'seen') or 0))
redis.call('HSET', KEYS[4], 'seen', now)
redis.call('EXPIRE', KEYS[4], 172800)
local function keep_leases(length)
  local ms = math.ceil(length / 1000)
  if redis.call('PTTL', KEYS[3]) < ms then redis.call('PEXPIRE', KEYS[3], ms) end
end
local today = math.floor(now / 86400e6)
local function thought()
  if today > tonumber(redis.call('HGET', KEYS[4], 'day') or 0) then
    redis.call('HSET', KEYS[4], 'day', today, 'thought', 0)
  end
  return tonumber(redis.call('HGET', KEYS[4], 'thought'))
end
"""

# ARGV: now, lease ('' asks for the standing alone), sustained, burst, burst seconds, concurrency, thinking
# tokens a day if they matter, duration of a lease. Replies: which limit refuses, or 0; seconds to wait;
# remaining, reset.
_ADMIT = (
    _CLOCK
    + """
local lease, sustained, burst = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local burst_seconds, concurrency, quota = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local second = math.floor(now / 1e6)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - 60e6)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', second - 3600)
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
local n, spent = redis.call('ZCARD', KEYS[1]), redis.call('ZCARD', KEYS[2])

local function score(key, rank)
  return tonumber(redis.call('ZRANGE', key, rank, rank, 'WITHSCORES')[2])
end

local function reply(limit, wait)
  local reset = n > 0 and math.ceil((score(KEYS[1], -1) + 60e6 - now) / 1e6) or 0
  return {limit, wait, math.max(0, sustained - n), reset}
end

local function next_accepted()
  local at = score(KEYS[1], n - sustained) + 60e6
  if burst <= sustained then return at end
  local in_burst = n >= burst and score(KEYS[1], n - burst) + 60e6 or now
  if spent >= burst_seconds then
    in_burst = math.max(in_burst, (score(KEYS[2], spent - burst_seconds) + 3600) * 1e6)
  end
  return math.min(at, in_burst)
end

if lease == '' then return reply(0, 0) end
if n >= sustained and (n >= burst or spent >= burst_seconds) then
  return reply(1, math.max(1, math.ceil((next_accepted() - now) / 1e6)))
end
if redis.call('ZCARD', KEYS[3]) >= concurrency then return reply(2, 1) end
if quota and thought() >= quota then
  return reply(3, math.max(1, math.ceil(((today + 1) * 86400e6 - now) / 1e6)))
end
if n >= sustained then
  redis.call('ZADD', KEYS[2], second, second)
  redis.call('EXPIRE', KEYS[2], 3601)
end
redis.call('ZADD', KEYS[1], now, lease)
redis.call('EXPIRE', KEYS[1], 61)
redis.call('ZADD', KEYS[3], now + ARGV[8], lease)
keep_leases(ARGV[8])
n = n + 1
return reply(0, 0)
"""
)

# ARGV: now, thinking tokens, then leases: to be renewed for ARGV[3] microseconds, or, if that is 0, ended.
_SETTLE = (
    _CLOCK
    + """
if tonumber(ARGV[2]) > 0 then
  thought()
  redis.call('HINCRBY', KEYS[4], 'thought', ARGV[2])
end
local length = tonumber(ARGV[3])
for i = 4, #ARGV do
  if length > 0 then
    redis.call('ZADD', KEYS[3], 'XX', now + length, ARGV[i])
  else
    redis.call('ZREM', KEYS[3], ARGV[i])
  end
end
if length > 0 then keep_leases(length) end
return 0
"""
)


class RedisLimiter:
    """A `Limiter` for `n` processes, and for more: for all that use the same Redis."""

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
        """Nothing is connected yet; raises `ValueError` for a URL that is none. `clock` gives microseconds
        in place of the server's clock, which '' stands for.
        """
        pool = BlockingConnectionPool.from_url(  # pyright: ignore[reportUnknownMemberType]
            url,
            max_connections=_MAX_CONNECTIONS,
            timeout=answer_s,
            socket_timeout=answer_s,
            socket_connect_timeout=answer_s,
            retry=Retry(NoBackoff(), 0),
            driver_info=None,  # to be told of it, files are read in the event loop
        )
        self._redis = Redis(connection_pool=pool)
        self._admit = self._redis.register_script(_ADMIT)
        self._settle = self._redis.register_script(_SETTLE)
        self._lease_us, self._renewal_s, self._clock = round(lease_s * 1e6), renewal_s, clock
        self._answer_s = answer_s
        self._name, self._numbers = secrets.token_hex(8), itertools.count()
        self._held: dict[str, set[str]] = {}
        self._renewing: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._local, self._fallback = MemoryLimiter(n), metrics.limiter_fallback
        self._down = False
        self._ask_at_s, self._pause_s = 0.0, FIRST_PAUSE_S

    async def admit(self, who: Allowance, *, thinks: bool) -> "RedisLease | MemoryLease | Refusal":
        """See `Limiter`."""
        lease = f"{self._name}-{next(self._numbers)}"
        reply = await self._judge(who, lease, thinks=thinks)
        if reply is None:
            return await self._local.admit(who, thinks=thinks)
        limit, wait_s, remaining, reset_s = reply
        standing = Standing(who.rate.sustained, remaining, reset_s)
        if limit:
            return Refusal(_LIMITS[limit - 1], standing, wait_s)
        self._held.setdefault(who.account_id, set()).add(lease)
        if self._renewing is None:
            self._renewing = asyncio.create_task(self._renew())
        return RedisLease(self, who.account_id, lease, standing)

    async def standing(self, who: Allowance) -> Standing:
        """See `Limiter`."""
        reply = await self._judge(who, "", thinks=False)
        return Standing(who.rate.sustained, *reply[2:]) if reply else await self._local.standing(who)

    async def release(self, account_id: str, lease: str, thinking_tokens: int) -> None:
        """A lease has ended. Redis is told so even if whoever waits for it is cancelled; if it cannot be
        told, the lease ends there by itself.
        """
        ending = asyncio.create_task(self._end(account_id, lease, thinking_tokens))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        await asyncio.shield(ending)

    async def _end(self, account_id: str, lease: str, thinking_tokens: int) -> None:
        leases = self._held[account_id]
        leases.discard(lease)
        if not leases:
            del self._held[account_id]
        if await self._ask(self._settle, account_id, thinking_tokens, 0, lease) is None:
            self._local.spend(account_id, thinking_tokens)

    async def aclose(self) -> None:
        """See `Limiter`."""
        if self._renewing:
            self._renewing.cancel()
        await asyncio.gather(*filter(None, (self._renewing, *self._ending)), return_exceptions=True)
        with suppress(RedisError, OSError):
            await self._redis.aclose(close_connection_pool=True)

    async def _judge(self, who: Allowance, lease: str, *, thinks: bool) -> list[int] | None:
        quota = who.tier.thinking_tokens_per_day if thinks else None
        rate = (who.rate.sustained, who.rate.burst, who.rate.burst_seconds)
        beside = (who.tier.concurrency, "" if quota is None else quota, self._lease_us)
        reply = await self._ask(self._admit, who.account_id, lease, *rate, *beside)
        return cast("list[int] | None", reply)

    async def _renew(self) -> None:
        """Keep what is held."""
        while True:
            await asyncio.sleep(self._renewal_s)
            for account_id, leases in list(self._held.items()):
                await self._ask(self._settle, account_id, 0, self._lease_us, *leases)

    async def _ask(self, script: AsyncScript, account_id: str, *arguments: int | str) -> object | None:
        """What Redis says; None if it says nothing in time, or did not a moment ago."""
        now_s = time.monotonic()
        if now_s < self._ask_at_s:
            return None
        if tries := self._down:
            self._ask_at_s = now_s + 2 * self._answer_s  # nobody else waits for the outcome
        keys = [f"tessera:{{{account_id}}}:{part}" for part in ("accepted", "bursts", "leases", "day")]
        try:
            async with asyncio.timeout(self._answer_s):
                reply = await script(keys, [self._clock(), *arguments])
        except (RedisError, OSError, TimeoutError) as error:
            self._fall_back(error, tries=tries)
            return None
        if self._down:
            self._turn(down=False)
            log(_logger, "info", "redis answers again")
        return reply

    def _fall_back(self, error: Exception, *, tries: bool) -> None:
        """Ask again later: later still, if this was the try that would have ended it."""
        if not self._down:
            self._turn(down=True)
            log(_logger, "warning", "redis does not answer: each process counts", error=type(error).__name__)
        elif not tries:
            return
        self._ask_at_s = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, LAST_PAUSE_S)

    def _turn(self, *, down: bool) -> None:
        self._down = down
        self._ask_at_s, self._pause_s = 0.0, FIRST_PAUSE_S
        self._fallback.set(int(down))


class RedisLease:
    """See `Lease`."""

    def __init__(self, limiter: RedisLimiter, account_id: str, lease: str, standing: Standing) -> None:
        self.standing = standing
        self._limiter = limiter
        self._account_id = account_id
        self._lease: str | None = lease

    async def release(self, thinking_tokens: int = 0) -> None:
        """See `Lease`."""
        lease, self._lease = self._lease, None
        if lease:
            await self._limiter.release(self._account_id, lease, thinking_tokens)
