"""What an operator asks for: bodies and queries of the admin API. The commands fill in the same structs.

A field has the name of the row's field that it changes. A field that is not sent keeps its value; null
removes a limit.
"""

import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Literal, TypeAlias, TypeVar, get_args

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from tessera.core.usage import GroupBy, UsageQuestion
from tessera.errors import OperatorError
from tessera.operator.cursors import read_cursor
from tessera.store.accounts import can_be_name
from tessera.store.keys import Terms
from tessera.store.pages import PageQuestion
from tessera.wire.reading import convert, decode
from tessera.wire.usage import read_day

F = TypeVar("F", bound="Form")
Q = TypeVar("Q", bound="Query")
V = TypeVar("V")

MAX_ROWS = 1000
"""In a page, or in a report with `top`."""

Format: TypeAlias = Literal["json", "csv", "parquet"]
"""What a report can be written as."""

MAX_CHANGE_ID = 2**31 - 1
_LAST_DATE_S = datetime(9999, 12, 31, tzinfo=UTC).timestamp()


class Form(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a request."""


class NewAccount(Form, frozen=True, kw_only=True):
    """An account that is to be made; `limits` are its own, over those of its tier."""

    name: str
    tier: str
    limits: dict[str, int | str] = {}


class AccountChanges(Form, frozen=True, kw_only=True):
    """Changes of an account. A limit that is not sent keeps its value; null gives it that of the tier."""

    tier: str | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET
    limits: dict[str, int | str | None] | UnsetType = UNSET


class KeyTerms(Form, frozen=True, kw_only=True):
    """The terms of a key, without its name. Dates are Unix seconds; null means no expiry, all models, no own
    burst. A budget that is not sent keeps its value; null ends it.
    """

    expires_s: float | UnsetType | None = UNSET
    models: list[str] | UnsetType | None = UNSET
    burst_rpm: int | UnsetType | None = UNSET
    burst_until_s: float | UnsetType | None = UNSET
    budgets: dict[str, int | None] | UnsetType = UNSET

    def applied_to(self, terms: Terms) -> Terms:
        """Return the terms with the sent fields. Raises `OperatorError` for a date in the past, even if it is
        the kept date of a burst.
        """
        _require_to_come("expires_s", self.expires_s)
        keeps_date = self.burst_until_s is UNSET and isinstance(self.burst_rpm, int)
        _require_to_come("burst_until_s", terms.burst_until_s if keeps_date else self.burst_until_s)
        fields = {field: getattr(self, field) for field in self.__struct_fields__ if hasattr(terms, field)}
        sent = {field: value for field, value in fields.items() if value is not UNSET}
        if isinstance(self.models, list):
            sent["models"] = tuple(self.models)
        if isinstance(self.budgets, dict):
            sent["budgets"] = merged(terms.budgets or {}, self.budgets)
        return replace(terms, **sent)


class KeyChanges(KeyTerms, frozen=True, kw_only=True):
    """Changes of a key."""

    name: str | UnsetType = UNSET


class NewKey(KeyTerms, frozen=True, kw_only=True):
    """A key that is to be made for an account, given by name or id."""

    account: str
    name: str


class Query(Struct, frozen=True, forbid_unknown_fields=True):
    """The query of a request."""


class DeletionQuery(Query, frozen=True, kw_only=True):
    """What becomes of the usage of an account that is deleted."""

    usage: Literal["keep", "erase"]


class BudgetsQuery(Query, frozen=True, kw_only=True):
    """Whose budgets to show: those of one account and its keys, or all."""

    account: str | None = None


class ListQuery(Query, frozen=True, kw_only=True):
    """Which rows to list: those that contain the text `q`, in the order of the column `sort`, or in the
    opposite order if `-` precedes its name. With a `limit`, one page of them: the first, or the one that
    follows the page which came with this `cursor`.
    """

    sort: str | None = None
    q: str = ""
    limit: Annotated[int, Meta(ge=1, le=MAX_ROWS)] | None = None
    cursor: str | None = None

    def question(self, known: Collection[str], default: str) -> PageQuestion:
        """The question for the database; `known` are the columns. Raises `OperatorError`."""
        sort = default if self.sort is None else self.sort
        name = sort.removeprefix("-")
        if name not in known:
            message = (
                f"sort is {sort[:50]!r}: send one of {', '.join(known)}, with - before it to sort downward."
            )
            raise OperatorError(message, param="sort")
        if not (self.q == "" or can_be_name(self.q)):
            raise OperatorError("q is no text that a name could have: send part of one.", param="q")
        after = None if self.cursor is None else read_cursor(self.cursor, sort)
        return PageQuestion(name, name != sort, self.q, self.limit, after)


class KeysQuery(ListQuery, frozen=True, kw_only=True):
    """Which keys to list: those of one account, or of all."""

    account: str | None = None


class UsageQuery(Query, frozen=True, kw_only=True):
    """Which requests to add up: those of an account, of a key, of the days from `since` to `until`. They are
    grouped `by` one or more of day, account, key and model, separated by commas. With `top`, only as many
    groups are reported, those with the most tokens.
    """

    account: str | None = None
    key: str | None = None
    since: str | None = None
    until: str | None = None
    by: str = "day"
    top: Annotated[int, Meta(ge=1, le=MAX_ROWS)] | None = None
    format: Format = "json"

    def question(self) -> UsageQuestion:
        """The question for the database; raises `RequestError`."""
        for param, name in (("account", self.account), ("key", self.key)):
            if name is not None and not can_be_name(name):
                raise OperatorError(
                    f"{param} is {name[:50]!r}, which is not the name or id of an account.", param=param
                )
        since = None if self.since is None else read_day(self.since, "since")
        until = None if self.until is None else read_day(self.until, "until")
        groups = read_groups(self.by)
        return UsageQuestion(groups, since, until, named=self.account, key=self.key, top=self.top)


class AuditQuery(Query, frozen=True, kw_only=True):
    """Which changes to show: those of an account and its keys, or of a key, since a date. Only changes that
    are older than the one with the id `before` are shown, the latest first, `limit` at most.
    """

    account: str | None = None
    key: str | None = None
    since: str | None = None
    before: Annotated[int, Meta(ge=1, le=MAX_CHANGE_ID)] | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_ROWS)] = 100


def read_form(kind: type[F], body: bytes) -> F:
    """Decode a body; raises `RequestError`."""
    return decode(msgspec.json.Decoder(kind), body)


def read_query(kind: type[Q], asked: Mapping[str, str]) -> Q:
    """Convert a query; raises `RequestError`."""
    return convert(dict(asked), kind, "", strict=False)


def read_time(asked: str, param: str) -> float:
    """Unix seconds of an ISO date, in UTC unless it says otherwise; raises `OperatorError`."""
    try:
        date = datetime.fromisoformat(asked)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        message = f"{param} is {asked[:50]!r}: send a date such as 2030-12-31 or 2030-12-31T18:00:00."
        raise OperatorError(message, param=param) from error


def read_groups(asked: str, param: str = "by") -> tuple[GroupBy, ...]:
    """Read the names of groups; raises `OperatorError`."""
    names = [name.strip() for name in asked.split(",")]
    known: tuple[GroupBy, ...] = get_args(GroupBy)
    groups: list[GroupBy] = [group for name in dict.fromkeys(names) for group in known if group == name]
    if len(groups) != len(names):
        raise OperatorError(
            f"{param} is {asked[:50]!r}: send one or more of {', '.join(known)}.", param=param
        )
    return tuple(groups)


def merged(before: Mapping[str, V], changes: Mapping[str, V | None]) -> dict[str, V]:
    """The values before, with the changes; None removes a value."""
    after = {**before, **changes}
    return {name: value for name, value in after.items() if value is not None}


def read_models(asked: str) -> list[str]:
    """Read names that are separated by commas."""
    return [name.strip() for name in asked.split(",")]


def _require_to_come(param: str, date_s: float | UnsetType | None) -> None:
    if isinstance(date_s, (int, float)) and not time.time() < date_s <= _LAST_DATE_S:
        how = "is over" if date_s <= time.time() else "is too far away"
        raise OperatorError(f"The date of {param} {how}: send a date in the future.", param=param)
