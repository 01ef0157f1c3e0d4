"""An account's limits: requests a minute, choices at once, tokens of reasoning a day, and its budgets.

An admitted request holds a `Lease` until it has ended. A refused request is not counted, whichever limit
refuses it. Here the counts are in the memory of one process; `redis_limits` keeps them for several.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal, Protocol, TypeAlias

from tessera.access.spending import ReadSpent, Spendings, nothing_spent
from tessera.access.tiers import Tier
from tessera.access.window import WINDOW_S, Rate, Standing, Window
from tessera.core.budgets import TokenBudget, resets_s
from tessera.core.usage import DAY_S, NOTHING_USED, Usage, day_of

CONCURRENCY_WAIT_S = 1
"""`retry_after_s` for an account that has too many choices at once: when one will end is not known."""

Limit: TypeAlias = Literal["rate", "concurrency", "thinking", "budget"]


@dataclass(frozen=True, slots=True)
class Allowance:
    """What an account may use now, by one of its keys: its tier, with the rate that the key may have for a
    while, and the budgets of both.
    """

    account_id: str
    tier: Tier
    rate: Rate
    key_id: str = ""
    budgets: tuple[TokenBudget, ...] = ()


@lru_cache(maxsize=1024)
def share(who: Allowance, n: int) -> Allowance:
    """The part that one of `n` processes may grant that do not know of each other; at least one of each."""
    quota = who.tier.thinking_tokens_per_day
    tier = replace(
        who.tier,
        concurrency=max(1, who.tier.concurrency // n),
        thinking_tokens_per_day=quota and max(1, quota // n),
    )
    return replace(who, tier=tier, rate=who.rate.share(n))


@dataclass(frozen=True, slots=True)
class LimitRefusal:
    """The limit that refused a request, and which of the budgets if it was one."""

    limit: Limit
    standing: Standing
    retry_after_s: int
    budget: TokenBudget | None = None


def refused_by(budget: TokenBudget, standing: Standing, now_s: float) -> LimitRefusal:
    """The refusal of a budget that is used up until its next period begins; `now_s` is Unix time."""
    wait_s = max(1, math.ceil(resets_s(budget.period, now_s) - now_s))
    return LimitRefusal("budget", standing, wait_s, budget)


class Lease(Protocol):
    """The right to a request and its choices, from `admit` to `release`."""

    @property
    def standing(self) -> Standing:
        """Where the account stands with this request counted."""
        ...

    async def release(self, used: Usage = NOTHING_USED) -> None:
        """The request has ended and used so much. The first call counts. Never raises."""
        ...

    async def withdraw(self) -> None:
        """As `release`, for a request that was refused after it was admitted: it is not counted any more."""
        ...


class Limiter(Protocol):
    """Admits requests. Its methods never raise."""

    async def admit(
        self, who: Allowance, *, thinks: bool, n_choices: int = 1, lease: str | None = None
    ) -> Lease | LimitRefusal:
        """Checks the rate, the choices at once, the tokens of reasoning of today (UTC), and the budgets.
        Counts the request if none refuses it; a `lease` of another process is taken over, uncounted.
        """
        ...

    async def standing(self, who: Allowance) -> Standing:
        """Where the account stands when it sends nothing."""
        ...

    async def aclose(self) -> None:
        """Closes connections and ends tasks."""
        ...


@dataclass(slots=True)
class _Account:
    """The counts of one account; `thinking_tokens` are those of `day`."""

    window: Window = field(default_factory=Window)
    n_running: int = 0
    day: int = 0
    thinking_tokens: int = 0


class MemoryLimiter:
    """A `Limiter` for one process of `n` that share each account's limits equally."""

    def __init__(
        self,
        n: int = 1,
        clock: Callable[[], float] = time.monotonic,
        calendar: Callable[[], float] = time.time,
        read_spent: ReadSpent = nothing_spent,
        spends: Callable[[str], None] = lambda account_id: None,
    ) -> None:
        """`clock` returns monotonic seconds, `calendar` Unix time. `spends` is called for each account with
        budgets when one of its requests has ended.
        """
        self._n = n
        self._clock = clock
        self._calendar = calendar
        self._accounts: dict[str, _Account] = {}
        self._swept_s = -math.inf
        self._spendings = Spendings(read_spent, clock, calendar)
        self._spends = spends

    async def admit(
        self, who: Allowance, *, thinks: bool, n_choices: int = 1, lease: str | None = None
    ) -> "MemoryLease | LimitRefusal":
        most = who.tier.concurrency
        # Before anything is looked up: this may wait.
        spending = await self._spendings.of(who.account_id) if who.budgets else None
        who, account = self._look_up(who)
        verdict = account.window.judge(self._clock(), who.rate)
        if verdict.retry_after_s is not None:
            return LimitRefusal("rate", verdict.standing, verdict.retry_after_s)
        # A request may have more choices than the share: alone it is admitted, else it never would be.
        if account.n_running:
            most = who.tier.concurrency
        if account.n_running + n_choices > most:
            return LimitRefusal("concurrency", verdict.standing, CONCURRENCY_WAIT_S)
        quota = who.tier.thinking_tokens_per_day
        if thinks and quota is not None and self._thought(account) >= quota:
            left_s = math.ceil(DAY_S * (account.day + 1) - self._calendar())
            return LimitRefusal("thinking", verdict.standing, max(1, left_s))
        used_up = spending and spending.used_up(who.budgets, thinks=thinks, n=self._n)
        if used_up:
            return refused_by(used_up, verdict.standing, self._calendar())
        account.n_running += n_choices
        standing = account.window.accept(who.rate)
        accepted_s = account.window.latest_s
        return MemoryLease(self, account, who, standing, n_choices, accepted_s, self._calendar())

    async def standing(self, who: Allowance) -> Standing:
        who, account = self._look_up(who)
        return account.window.standing(self._clock(), who.rate)

    async def aclose(self) -> None:
        await self._spendings.aclose()

    def uncount(self, lease: "MemoryLease", account: _Account) -> Standing:
        """The account's standing without the request of a lease."""
        return account.window.withdraw(lease.accepted_s, self._clock(), lease.who.rate)

    def spend(self, who: Allowance, begun_s: float, used: Usage) -> None:
        """Counts what a request has used that began at that Unix time, with a lease from here or without."""
        account = self._accounts.setdefault(who.account_id, _Account())
        account.thinking_tokens = self._thought(account) + used.reasoning_tokens
        if spending := self._spendings.accounts.get(who.account_id):
            spending.count(who.key_id, day_of(begun_s), used)
        if who.budgets:
            self._spends(who.account_id)

    @property
    def n_running(self) -> int:
        return sum(account.n_running for account in self._accounts.values())

    @property
    def n_accounts(self) -> int:
        return len(self._accounts)

    def _look_up(self, who: Allowance) -> tuple[Allowance, _Account]:
        self._sweep()
        account = self._accounts.get(who.account_id)
        if account is None:
            account = self._accounts[who.account_id] = _Account()
        return who if self._n == 1 else share(who, self._n), account

    def _thought(self, account: _Account) -> int:
        """Tokens of today. If the calendar goes back by up to a minute, the day does not change."""
        now_s = self._calendar()
        today = int(now_s // DAY_S)
        if today > account.day or now_s < account.day * DAY_S - WINDOW_S:
            account.day = today
            account.thinking_tokens = 0
        return account.thinking_tokens

    def _sweep(self) -> None:
        """Once a minute, drops accounts without counts."""
        now_s = self._clock()
        if now_s < self._swept_s + WINDOW_S:
            return
        self._swept_s = now_s
        if self._spendings.accounts:
            self._spendings.forget_old()
        for account_id, account in list(self._accounts.items()):
            account.window.move_to(now_s)
            if account.window.idle and not account.n_running and not self._thought(account):
                del self._accounts[account_id]


@dataclass(slots=True)
class MemoryLease:
    """A `Lease` that ends with its process: so it does not expire. `account` is None when it has ended."""

    limiter: MemoryLimiter
    account: _Account | None
    who: Allowance
    standing: Standing
    n_choices: int
    accepted_s: float
    begun_s: float

    async def release(self, used: Usage = NOTHING_USED) -> None:
        account, self.account = self.account, None
        if account:
            account.n_running -= self.n_choices
            self.limiter.spend(self.who, self.begun_s, used)

    async def withdraw(self) -> None:
        account, self.account = self.account, None
        if account:
            account.n_running -= self.n_choices
            self.standing = self.limiter.uncount(self, account)
