"""Decides whether a caller's request is admitted: first by what its key permits, then by the account's
limits.

Each request has a `Permit`: it is admitted once, left once, and knows the account's rate headers at any time.
"""

import time
from collections.abc import Set
from datetime import UTC, datetime

from tessera.access.keys import Identity
from tessera.access.limits import Allowance, Lease, Limiter, LimitRefusal
from tessera.core.chat import Mode
from tessera.core.usage import NOTHING_USED, Usage
from tessera.errors import (
    BudgetExhausted,
    LimitExceeded,
    PermissionDenied,
    QuotaExhausted,
    RateLimited,
    TooManyChoices,
    TooManyConcurrent,
)
from tessera.observe.metrics import Metrics


class Permit:
    """One request of a caller, before and after it is admitted; `authorization` is its header of that
    name.
    """

    def __init__(
        self, limiter: Limiter, metrics: Metrics, identity: Identity, authorization: str | None = None
    ) -> None:
        self.identity = identity
        self.authorization = authorization
        self._limiter = limiter
        self._refused = metrics.refused
        self._who = Allowance(
            identity.account, identity.tier, identity.rate, identity.key_id, identity.budgets
        )
        self._lease: Lease | None = None
        self._refusal: LimitRefusal | None = None

    async def admit(self, names: Set[str], mode: Mode, n_choices: int = 1, lease: str | None = None) -> None:
        """Admits the request to the model of these names; then it must `leave`. A request whose `lease`
        another server has taken, and not given back, is not counted again.

        Raises `PermissionDenied`, `RateLimited`, `TooManyConcurrent`, `QuotaExhausted` or `BudgetExhausted`.
        """
        self.require_model(names)
        if n_choices > (most := self._who.tier.concurrency):
            self._count_refusal("concurrency")
            raise TooManyChoices(f"'n' is {n_choices}, and {most} choices at once are allowed.", param="n")
        thinks = mode is Mode.THINKING
        decided = await self._limiter.admit(self._who, thinks=thinks, n_choices=n_choices, lease=lease)
        if isinstance(decided, LimitRefusal):
            self._refusal = decided
            self._count_refusal(decided.limit)
            raise _explained(decided, self._who)
        self._lease = decided

    async def leave(self, used: Usage = NOTHING_USED) -> None:
        """The request has ended and used so much. The first call counts. Safe without `admit`."""
        if self._lease:
            await self._lease.release(used)

    async def withdraw(self) -> None:
        """Instead of `leave`: the request was refused after it was admitted, and is not counted."""
        if self._lease:
            await self._lease.withdraw()

    def require_model(self, names: Set[str]) -> None:
        """Raises `PermissionDenied` if the key is not for the model of these names."""
        try:
            check_models(self.identity, names)
        except PermissionDenied:
            self._count_refusal("permission")
            raise

    async def headers(self) -> list[tuple[bytes, bytes]]:
        """The rate headers: where the account stands."""
        decided = self._lease or self._refusal
        standing = decided.standing if decided else await self._limiter.standing(self._who)
        return [
            (b"x-ratelimit-limit-requests", b"%d" % standing.limit),
            (b"x-ratelimit-remaining-requests", b"%d" % standing.remaining),
            (b"x-ratelimit-reset-requests", b"%d" % standing.reset_s),
        ]

    def _count_refusal(self, kind: str) -> None:
        """Counts a refusal in the metrics; nothing else of a refused request is counted."""
        self._refused.labels(kind, self.identity.tier.name).inc()


def check_models(identity: Identity, names: Set[str]) -> None:
    """Raises `PermissionDenied` if the key is not for the model of these names."""
    if identity.models is not None and identity.models.isdisjoint(names):
        allowed = ", ".join(sorted(identity.models))
        raise PermissionDenied(f"This key may not use that model. Send one of: {allowed}.", param="model")


def _explained(refusal: LimitRefusal, who: Allowance) -> LimitExceeded:
    wait_s = refusal.retry_after_s
    match refusal.limit:
        case "rate":
            return RateLimited(
                f"Your tier allows {who.rate.sustained} requests a minute, and {who.rate.burst} in bursts. "
                f"Wait {wait_s} s, or ask for a higher tier.",
                retry_after_s=wait_s,
            )
        case "concurrency":
            return TooManyConcurrent(
                f"Your tier allows {who.tier.concurrency} choices at once, and a request has as many as its "
                "'n'. Wait for one to end.",
                retry_after_s=wait_s,
            )
        case "thinking":
            return QuotaExhausted(
                f"Your tier allows {who.tier.thinking_tokens_per_day} tokens of reasoning a day, and they "
                "are used up. Leave enable_thinking out, or wait for the next day (UTC).",
                retry_after_s=wait_s,
            )
        case "budget":
            return _budget_exhausted(refusal)


def _budget_exhausted(refusal: LimitRefusal) -> BudgetExhausted:
    budget = refusal.budget
    assert budget is not None, "named by the limiter"
    resets = datetime.fromtimestamp(round(time.time()) + refusal.retry_after_s, UTC)
    what = "" if budget.counted == "total" else f" of {budget.counted}"
    return BudgetExhausted(
        f"The budget of this {'account' if budget.key_id is None else 'key'}, {budget.limit_tokens} "
        f"tokens{what} a {budget.period}, is used up. It begins anew at {resets:%Y-%m-%d %H:%M} UTC.",
        param=budget.name,
        retry_after_s=refusal.retry_after_s,
    )
