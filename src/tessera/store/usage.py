"""Usage in the store: a row for each request, and the sums of days."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Dialect,
    Select,
    Subquery,
    Table,
    and_,
    case,
    delete,
    func,
    literal,
    literal_column,
    or_,
    select,
    text,
    union_all,
    update,
)

from tessera.core.usage import (
    FINISHED,
    INTERRUPTED,
    OPEN,
    GroupBy,
    LedgerEntry,
    Usage,
    UsageQuestion,
    UsageSum,
    day_of,
)
from tessera.store.database import WriteConnection, insert_into
from tessera.store.tables import ACCOUNTS, INSTANCES, USAGE, USAGE_DAILY, USAGE_DAILY_BY_ACCOUNT
from tessera.store.top_keys import UNCOUNTED, candidates, of_days

_MAX_NAMED = 1000
_TOKENS = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")
_OF_A_DAY = ("day", "account_id", "key_id", "model")
_SUMMED = ("n_requests", "n_failed", *_TOKENS)
_SUMS_BY: Mapping[Table, tuple[str, ...]] = MappingProxyType(
    {USAGE_DAILY: _OF_A_DAY, USAGE_DAILY_BY_ACCOUNT: ("day", "account_id", "model")}
)
_GROUPS: Mapping[GroupBy, str] = MappingProxyType(
    {"day": "day", "account": "account_id", "key": "key_id", "model": "model"}
)
_AT_END = ("finish", "waited_s", "first_token_s", "whole_s")
_OF_ENTRY = ("id", "key_id", "model", "mode", "streamed", "begun_s", *_AT_END)
_CHANGING = (*_TOKENS, *_AT_END)


def write(connection: Connection, instance: str, entries: Iterable[LedgerEntry]) -> None:
    """Inserts entries, or updates their rows. Idempotent: the row of a request that has ended does not
    change. Only a row that was closed as `interrupted` may: a server wrongly presumed dead may still write
    how the request ended, or that it has got further.
    """
    if rows := [_row(instance, entry) for entry in entries]:
        connection.exec_driver_sql(_writing(connection.dialect), rows)


def write_down(line: WriteConnection, instance: str, entries: Iterable[LedgerEntry]) -> None:
    """As `write`, in a transaction of its own."""
    if rows := [_row(instance, entry) for entry in entries]:
        line.write(_writing(line.dialect), rows)


def close_abandoned(connection: Connection, seen_before_s: float) -> None:
    """Closes the open rows of instances whose last heartbeat was before that time, or that have none."""
    connection.execute(delete(INSTANCES).where(INSTANCES.c.seen_s < seen_before_s))
    alive = select(INSTANCES.c.id)
    abandoned = USAGE.c.finish == OPEN, USAGE.c.instance.not_in(alive)
    connection.execute(update(USAGE).where(*abandoned).values(finish=INTERRUPTED))


def count_ended(connection: Connection, at_most: int) -> int:
    """Adds rows of requests that have ended to the sums of their days. Returns how many: fewer than `at_most`
    if no more are left.

    An interrupted one waits for `roll_up`: its server may still write how it ended.
    """
    has_ended = USAGE.c.finish.not_in((OPEN, INTERRUPTED))
    first = select(USAGE.c.id).where(UNCOUNTED, has_ended).order_by(USAGE.c.day).limit(at_most)
    # Locked, so that no other server counts them too. SQLite has only one writer anyway.
    ids = connection.scalars(first.with_for_update(skip_locked=True)).all()
    if ids:
        counted = and_(USAGE.c.id.in_(ids), UNCOUNTED)
        _add_to_sums(connection, counted)
        connection.execute(update(USAGE).where(counted).values(counted=True))
    return len(ids)


def roll_up(connection: Connection, before_day: str, at_most: int) -> int:
    """Deletes closed rows of earlier days, which are or become part of the sums of their days. Returns how
    many: fewer than `at_most` if no more are left.
    """
    is_old = and_(USAGE.c.day < before_day, USAGE.c.finish != OPEN)
    oldest = select(USAGE.c.id).where(is_old).order_by(USAGE.c.day).limit(at_most)
    # Locked, so that they do not change before they are deleted.
    ids = connection.scalars(oldest.with_for_update(skip_locked=True)).all()
    if ids:
        old = and_(USAGE.c.id.in_(ids), USAGE.c.finish != OPEN)
        _add_to_sums(connection, and_(old, UNCOUNTED))
        connection.execute(delete(USAGE).where(old))
    return len(ids)


def _add_to_sums(connection: Connection, these: ColumnElement[bool]) -> None:
    rows = _rows().where(these).subquery()
    for table, names in _SUMS_BY.items():
        groups = [rows.c[name] for name in names]
        insert = insert_into(connection.dialect, table)
        added = {name: table.c[name] + insert.excluded[name] for name in _SUMMED}
        # Always in the same order: two servers that add to the same sums would otherwise deadlock.
        sums = _summed(rows, *groups).where(literal(True)).order_by(*groups)
        upsert = insert.from_select([*names, *_SUMMED], sums)
        connection.execute(upsert.on_conflict_do_update(index_elements=[*names], set_=added))


def add_up(connection: Connection, question: UsageQuestion) -> list[UsageSum]:
    """The sums, in the order of their groups; with `top`, those with the most tokens first. A question that
    groups by nothing has one sum, or none if there is no usage.
    """
    of_keys = "key" in question.by or question.key is not None
    kept = USAGE_DAILY if of_keys else USAGE_DAILY_BY_ACCOUNT
    shown_keys = candidates(connection, question)
    requests = _rows().where(UNCOUNTED).where(*_asked(USAGE, question, shown_keys)).subquery()
    days = select(kept).where(*_asked(kept, question, shown_keys)).subquery()
    # Each is added up by itself: what is kept comes in the order of an index.
    parts = [_summed(each, *(_group(each, by) for by in question.by)) for each in (requests, days)]
    both = union_all(*parts).subquery()
    sums = _summed(both, *(both.c[f"by_{by}"] for by in question.by)).subquery()
    groups = {by: sums.c[f"by_{by}"] for by in question.by}
    source, shown = sums, [*groups.values()]
    if "account" in groups:
        source = sums.outerjoin(ACCOUNTS, ACCOUNTS.c.id == groups["account"])
        name = func.coalesce(ACCOUNTS.c.name, groups["account"]).label("by_account")
        shown = [name if by == "account" else column for by, column in groups.items()]
    rows = select(*shown, *(sums.c[name] for name in _SUMMED)).select_from(source)
    if question.top is not None:
        rows = rows.order_by((sums.c.prompt_tokens + sums.c.completion_tokens).desc()).limit(question.top)
    names = [f"by_{by}" for by in question.by]
    return [
        UsageSum(
            tuple(getattr(row, name) for name in names),
            int(row.n_requests),
            int(row.n_failed),
            Usage(*(int(getattr(row, name)) for name in _TOKENS)),
        )
        for row in connection.execute(rows.order_by(*shown))
        if row.n_requests is not None
    ]


def spent(
    connection: Connection, accounts: Collection[str], since: str, until: str
) -> list[tuple[str, str, Usage]]:
    """What requests that have ended used from day to day, the last one excluded, by account and key: at least
    of these accounts.
    """
    requests = _rows().where(UNCOUNTED, USAGE.c.finish != OPEN)
    kept = select(*(USAGE_DAILY.c[name] for name in (*_OF_A_DAY, *_SUMMED)))
    rows = union_all(requests, kept).subquery()
    sums = _summed(rows, rows.c.account_id, rows.c.key_id)
    sums = sums.where(rows.c.day >= since, rows.c.day < until)
    if len(accounts) <= _MAX_NAMED:  # a database takes only so many parameters
        sums = sums.where(rows.c.account_id.in_(accounts))
    return [
        (row.account_id, row.key_id, Usage(*(int(getattr(row, name)) for name in _TOKENS)))
        for row in connection.execute(sums)
    ]


def _group(rows: Subquery, by: GroupBy) -> ColumnElement[str]:
    column = rows.c[_GROUPS[by]]
    # As an expression, or SQLite would walk all days in the order of the index of keys: twice as slow.
    grouped = func.coalesce(column, literal_column("''")) if by == "key" else column
    return grouped.label(f"by_{by}")


def _asked(
    table: Table, question: UsageQuestion, keys: Collection[str] | None
) -> Iterator[ColumnElement[bool]]:
    """The conditions of a question for the rows of a table, all of them or those of some keys."""
    yield from of_days(table.c.day, question)
    if keys is not None:
        yield table.c.key_id.in_(keys)
    if question.account is not None:
        yield table.c.account_id == question.account
    if question.named is not None:
        its_id = select(ACCOUNTS.c.id).where(ACCOUNTS.c.name == question.named)
        yield or_(table.c.account_id == question.named, table.c.account_id.in_(its_id))
    if question.key is not None:
        yield table.c.key_id == question.key


def _row(instance: str, entry: LedgerEntry) -> dict[str, object]:
    return {
        "account_id": entry.account,
        "instance": instance,
        "day": day_of(entry.begun_s),
        "counted": False,
        **{name: getattr(entry, name) for name in _OF_ENTRY},
        **{name: getattr(entry.usage, name) for name in _TOKENS},
    }


@cache
def _writing(dialect: Dialect) -> str:
    """The statement in the driver's form, cached: compiling it would take as long as a commit."""
    insert = insert_into(dialect, USAGE)
    was = USAGE.c.finish
    becomes = insert.excluded.finish
    is_open = text(f"'{OPEN}'")
    interrupted = text(f"'{INTERRUPTED}'")
    n_before, n_after = (
        tokens.prompt_tokens + tokens.completion_tokens for tokens in (USAGE.c, insert.excluded)
    )
    is_news = or_(was == is_open, and_(was == interrupted, or_(becomes != is_open, n_after > n_before)))
    changes = {name: insert.excluded[name] for name in _CHANGING}
    upsert = insert.on_conflict_do_update(index_elements=["id"], set_=changes, where=is_news)
    return str(upsert.compile(dialect=dialect))


def _rows() -> Select[Any]:
    """Single requests in the form of sums."""
    has_failed = USAGE.c.finish.not_in((*FINISHED, OPEN))
    return select(
        *(USAGE.c[name] for name in _OF_A_DAY),
        literal(1).label("n_requests"),
        case((has_failed, 1), else_=0).label("n_failed"),
        *(USAGE.c[name] for name in _TOKENS),
    )


def _summed(rows: Subquery, *groups: ColumnElement[str]) -> Select[Any]:
    return select(*groups, *(func.sum(rows.c[name]).label(name) for name in _SUMMED)).group_by(*groups)
