"""Calls of scripts in Redis, which are not waited for while it does not answer."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError

from tessera.observe.logs import log
from tessera.observe.metrics import Metrics

FIRST_PAUSE_S = 0.5
LAST_PAUSE_S = 15.0
_MAX_CONNECTIONS = 32
_PARTS = ("accepted", "bursts", "leases", "day", "spent", "since")

_logger = logging.getLogger(__name__)


class RedisCalls:
    """One process's connections to a Redis."""

    def __init__(
        self, url: str, metrics: Metrics, *, answer_s: float, clock: Callable[[], int | str]
    ) -> None:
        """Connects with the first call. Raises an error of any class for a URL that is invalid."""
        self._redis = _client(url, answer_s)
        self._fallback = metrics.limiter_fallback
        self._answer_s = answer_s
        self._clock = clock
        self._down = False
        self._ask_at_s = 0.0
        self._pause_s = FIRST_PAUSE_S

    def script(self, source: str) -> AsyncScript:
        """A script that `ask` can run."""
        return self._redis.register_script(source)

    async def ask(self, script: AsyncScript, account_id: str, *arguments: int | str) -> object | None:
        """The script's result; None if Redis does not answer in time, or did not a moment ago."""
        now_s = time.monotonic()
        if now_s < self._ask_at_s:
            return None
        if tries := self._down:
            # Until this attempt has ended, other requests do not wait for Redis.
            self._ask_at_s = now_s + 2 * self._answer_s
        keys = [f"tessera:{{{account_id}}}:{part}" for part in _PARTS]
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

    async def answers(self) -> bool:
        try:
            async with asyncio.timeout(self._answer_s):
                await self._redis.time()  # pyright: ignore[reportUnknownMemberType]
        except Exception:  # of any class; its message may hold parts of a password
            return False
        return True

    async def aclose(self) -> None:
        with suppress(RedisError, OSError):
            await self._redis.aclose(close_connection_pool=True)

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
