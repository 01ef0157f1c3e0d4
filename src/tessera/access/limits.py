"""An account's limits: requests a minute, requests at once, tokens of reasoning a day.

A request that is let in holds a `Lease` until it has ended. What is refused counts for nothing. Here the
counts are in the memory of one process; `redis_limits` keeps them for several.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from tessera.access.tiers import Tier
from tessera.access.window import WINDOW_S, Rate, Standing, Verdict, Window
from tessera.errors import QuotaExhausted, RateLimited, TooManyConcurrent

DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Allowance:
    """What an account may use now: its tier, with the rate that its key may have for a while."""

    account_id: str
    tier: Tier
    rate: Rate


class Lease(Protocol):
    """The right to one request at once, from `admit` to `release`."""

    @property
    def standing(self) -> Standing:
        """Where the account stands with this request counted."""
        ...

    async def release(self) -> None:
        """The request has ended. Safe to call twice."""
        ...


class Limiter(Protocol):
    """Who may ask now."""

    async def admit(self, who: Allowance, *, thinks: bool) -> Lease:
        """Raises `RateLimited`, `TooManyConcurrent` or `QuotaExhausted`, with the time to wait."""
        ...

    async def standing(self, who: Allowance) -> Standing:
        """Without a request."""
        ...

    async def spend(self, account_id: str, thinking_tokens: int) -> None:
        """Count tokens of reasoning of today (UTC)."""
        ...


def refusal(verdict: Verdict, rate: Rate) -> RateLimited:
    """Of a request that came too soon."""
    return RateLimited(
        f"Your tier allows {rate.sustained} requests a minute, in bursts {rate.burst}. Wait "
        f"{verdict.retry_after_s} s, or ask for a higher tier.",
        retry_after_s=verdict.retry_after_s,
    )


def too_many(tier: Tier) -> TooManyConcurrent:
    """Of a request beside as many as there may be."""
    return TooManyConcurrent(
        f"Your tier allows {tier.concurrency} requests at once. Wait for one to end.", retry_after_s=1
    )


def exhausted(tier: Tier, now_s: float) -> QuotaExhausted:
    """Of a request that would think."""
    return QuotaExhausted(
        f"Your tier allows {tier.thinking_tokens_per_day} tokens of reasoning a day, and they are used up. "
        'Ask without thinking (chat_template_kwargs: {"enable_thinking": false}), or wait for the next day '
        "(UTC).",
        retry_after_s=DAY_S - now_s % DAY_S,
    )


@dataclass(slots=True)
class _Account:
    """What is counted of one. Thinking tokens are those of `day`."""

    window: Window = field(default_factory=Window)
    n_running: int = 0
    day: int = 0
    thinking_tokens: int = 0

    @property
    def idle(self) -> bool:
        return self.window.idle and not self.n_running


class MemoryLimiter:
    """A `Limiter` for one process."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, calendar: Callable[[], float] = time.time
    ) -> None:
        """`clock` never jumps; `calendar` tells the day."""
        self._clock = clock
        self._calendar = calendar
        self._accounts: dict[str, _Account] = {}
        self._sweep_s = -math.inf

    async def admit(self, who: Allowance, *, thinks: bool) -> "MemoryLease":
        """See `Limiter`."""
        account = self._account(who.account_id)
        if account.n_running >= who.tier.concurrency:
            raise too_many(who.tier)
        quota = who.tier.thinking_tokens_per_day
        if thinks and quota is not None and account.thinking_tokens >= quota:
            raise exhausted(who.tier, self._calendar())
        verdict = account.window.admit(self._clock(), who.rate)
        if verdict.retry_after_s is not None:
            raise refusal(verdict, who.rate)
        account.n_running += 1
        return MemoryLease(verdict.standing, account)

    async def standing(self, who: Allowance) -> Standing:
        """See `Limiter`."""
        return self._account(who.account_id).window.standing(self._clock(), who.rate)

    async def spend(self, account_id: str, thinking_tokens: int) -> None:
        """See `Limiter`."""
        self._account(account_id).thinking_tokens += thinking_tokens

    def _account(self, account_id: str) -> _Account:
        self._sweep()
        account = self._accounts.setdefault(account_id, _Account())
        if (today := int(self._calendar() // DAY_S)) != account.day:
            account.day, account.thinking_tokens = today, 0
        return account

    def _sweep(self) -> None:
        """Once a minute, forget the accounts of which nothing matters any more today."""
        now_s = self._clock()
        if now_s < self._sweep_s + WINDOW_S:
            return
        self._sweep_s = now_s
        today = int(self._calendar() // DAY_S)
        for account_id, account in list(self._accounts.items()):
            account.window.move_to(now_s)
            if account.idle and (account.day != today or not account.thinking_tokens):
                del self._accounts[account_id]


class MemoryLease:
    """See `Lease`. It ends with its process, so it needs no end of its own."""

    def __init__(self, standing: Standing, account: _Account) -> None:
        self.standing = standing
        self._account: _Account | None = account

    async def release(self) -> None:
        """See `Lease`."""
        account, self._account = self._account, None
        if account:
            account.n_running -= 1
