"""Usage as JSON: what GET /v1/usage answers and what the command prints."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Literal, get_args

import msgspec
from msgspec import UNSET, Struct, UnsetType

from tessera.core.usage import UsageQuestion, UsageSum
from tessera.errors import RequestError

OwnBy = Literal["day", "model"]


class UsageTotals(Struct):
    """Requests, those of them without a whole reply, and their tokens."""

    requests: int
    failed: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int


class UsageRow(UsageTotals, kw_only=True):
    """What the requests of a day, or to a model, add up to."""

    day: str | UnsetType = UNSET
    model: str | UnsetType = UNSET


class UsageReport(Struct):
    """The body of GET /v1/usage."""

    rows: list[UsageRow]
    totals: UsageTotals
    object: Literal["usage"] = "usage"


def read_question(asked: Mapping[str, str], account: str) -> UsageQuestion:
    """An account's question about itself; raises `RequestError`."""
    by = asked.get("by", "day")
    if by not in get_args(OwnBy):
        raise RequestError(f"by is {by[:50]!r}: send day or model.", param="by")
    since, until = (read_day(asked[name], name) if name in asked else None for name in ("since", "until"))
    return UsageQuestion(("model",) if by == "model" else ("day",), since, until, account=account)


def read_day(asked: str, param: str) -> str:
    """A day as the store writes it; raises `RequestError`."""
    try:
        return date.fromisoformat(asked).isoformat()
    except ValueError:
        raise RequestError(f"{param} is {asked[:50]!r}: send one such as 2026-01-31.", param=param) from None


def encode_usage(question: UsageQuestion, sums: Sequence[UsageSum]) -> bytes:
    """The body of GET /v1/usage."""
    rows = [
        UsageRow(*counts(each), **dict(zip(question.by, each.groups, strict=True)))  # pyright: ignore[reportArgumentType] day or model
        for each in sums
    ]
    return msgspec.json.encode(UsageReport(rows, UsageTotals(*total(sums))))


def counts(each: UsageSum) -> tuple[int, ...]:
    """In the order of `UsageTotals`."""
    used = each.usage
    tokens = used.prompt_tokens, used.cached_tokens, used.completion_tokens, used.reasoning_tokens
    return each.n_requests, each.n_failed, *tokens


def total(sums: Iterable[UsageSum]) -> tuple[int, ...]:
    """The totals of all sums, in the order of `UsageTotals`."""
    nothing = (0,) * len(UsageTotals.__struct_fields__)
    return tuple(map(sum, zip(nothing, *map(counts, sums), strict=True)))
