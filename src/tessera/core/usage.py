"""Usage: the counts of a reply, what the ledger keeps of a request, and what it can be asked."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal, TypeAlias

GroupBy: TypeAlias = Literal["day", "account", "key", "model"]

OPEN = "open"
"""The `finish` of a request that is still being answered."""

INTERRUPTED = "interrupted"
"""The `finish` of a request whose server went away; its counts are the last ones that were written."""

DAY_S = 86_400

FINISHED = ("stop", "length", "tool_calls")
"""The `finish` of whole replies. Any other is an error's code."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, as they are shown to the client and billed. `cached_tokens` are part of `prompt_tokens`;
    `reasoning_tokens` are part of `completion_tokens`.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.cached_tokens + other.cached_tokens,
            self.completion_tokens + other.completion_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
        )


NOTHING_USED = Usage()


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """What the ledger keeps of one request. `id` is that of the reply, and no two entries have the same.
    `begun_s` is the Unix time at which the request was read; the other times are seconds since then, None
    for a step that it did not reach.
    """

    id: str
    account: str
    key_id: str
    model: str
    mode: str
    streamed: bool
    begun_s: float
    usage: Usage = field(default_factory=Usage)
    finish: str = OPEN
    waited_s: float | None = None
    first_token_s: float | None = None
    whole_s: float | None = None


@dataclass(frozen=True, slots=True)
class UsageQuestion:
    """Which requests to add up; None is all. Days are ISO dates in UTC, the last one included. `account` is
    an id, `named` an id or a name. `top` is how many groups are wanted, those with the most tokens.
    """

    by: tuple[GroupBy, ...] = ("day",)
    since: str | None = None
    until: str | None = None
    account: str | None = None
    named: str | None = None
    key: str | None = None
    top: int | None = None


@dataclass(frozen=True, slots=True)
class UsageSum:
    """Requests added up. `groups` are the days, accounts' names, keys' ids and models that they share, as the
    question asks; `n_failed` of them have no whole reply.
    """

    groups: tuple[str, ...]
    n_requests: int
    n_failed: int
    usage: Usage


def day_of(time_s: float) -> str:
    """The ISO date of a Unix time, in UTC."""
    return _date(int(time_s // DAY_S))


@lru_cache(8)
def _date(day: int) -> str:
    return datetime.fromtimestamp(day * DAY_S, UTC).date().isoformat()
