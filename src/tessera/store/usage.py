"""Usage in the store: a row for each request, sums of days for old requests, and the instances that write."""

import time
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from typing import Any, TypeAlias

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
    or_,
    select,
    text,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from tessera.core.usage import (
    FINISHED,
    INTERRUPTED,
    OPEN,
    LedgerEntry,
    Usage,
    UsageQuestion,
    UsageSum,
    day_of,
)
from tessera.store.database import WriteConnection
from tessera.store.tables import ACCOUNTS, INSTANCES, USAGE, USAGE_DAILY

Insert: TypeAlias = postgresql.Insert | sqlite.Insert

DEAD_AFTER_S = 60.0
"""An instance without a heartbeat for so long is dead; one whose files are not locked is dead already."""

_MAX_NAMED = 1000
_TOKENS = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")
_OF_A_DAY = ("day", "account_id", "key_id", "model")
_SUMMED = ("n_requests", "n_failed", *_TOKENS)
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


def clock_s(connection: Connection) -> float:
    """The database's Unix time: all instances judge by this clock which of them live."""
    if connection.dialect.name == "postgresql":
        return float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
    return time.time()  # SQLite's file is on this machine


def beat(connection: Connection, instance: str, now_s: float, tiers: Sequence[str] = ()) -> None:
    """Records that the instance lives, and which tiers it knows."""
    insert = _insert(connection.dialect.name, INSTANCES)
    upsert = insert.on_conflict_do_update(index_elements=["id"], set_={"seen_s": insert.excluded.seen_s})
    connection.execute(upsert, {"id": instance, "seen_s": now_s, "tiers": list(tiers)})


def tiers_of_running(connection: Connection) -> list[list[str]]:
    """The tiers that each running instance knows."""
    is_alive = INSTANCES.c.seen_s >= clock_s(connection) - DEAD_AFTER_S
    known = connection.scalars(select(INSTANCES.c.tiers).where(is_alive))
    return [tiers for tiers in known if tiers]


def forget_instance(connection: Connection, instance: str) -> None:
    """The instance has ended: `close_abandoned` then closes the rows that it left open."""
    connection.execute(delete(INSTANCES).where(INSTANCES.c.id == instance))


def close_abandoned(connection: Connection, seen_before_s: float) -> None:
    """Closes the open rows of instances whose last heartbeat was before that time, or that have none."""
    connection.execute(delete(INSTANCES).where(INSTANCES.c.seen_s < seen_before_s))
    alive = select(INSTANCES.c.id)
    abandoned = USAGE.c.finish == OPEN, USAGE.c.instance.not_in(alive)
    connection.execute(update(USAGE).where(*abandoned).values(finish=INTERRUPTED))


def roll_up(connection: Connection, before_day: str, at_most: int) -> int:
    """Adds closed rows of earlier days to the sums of their days, and deletes them. Returns how many: fewer
    than `at_most` if no more are left.
    """
    is_old = and_(USAGE.c.day < before_day, USAGE.c.finish != OPEN)
    oldest = select(USAGE.c.id).where(is_old).order_by(USAGE.c.day).limit(at_most)
    # Locked, so that they do not change before they are deleted. SQLite has only one writer anyway.
    ids = connection.scalars(oldest.with_for_update(skip_locked=True)).all()
    old = and_(USAGE.c.id.in_(ids), USAGE.c.finish != OPEN)
    insert = _insert(connection.dialect.name, USAGE_DAILY)
    added = {name: USAGE_DAILY.c[name] + insert.excluded[name] for name in _SUMMED}
    rows = _rows().where(old).subquery()
    groups = [rows.c[name] for name in _OF_A_DAY]
    # Always in the same order: two servers that add to the same sums would otherwise deadlock.
    sums = _summed(rows, *groups).where(literal(True)).order_by(*groups)
    upsert = insert.from_select([*_OF_A_DAY, *_SUMMED], sums)
    connection.execute(upsert.on_conflict_do_update(index_elements=[*_OF_A_DAY], set_=added))
    connection.execute(delete(USAGE).where(old))
    return len(ids)


def add_up(connection: Connection, question: UsageQuestion) -> list[UsageSum]:
    """The sums, in the order of their groups."""
    kept = select(*(USAGE_DAILY.c[name] for name in (*_OF_A_DAY, *_SUMMED)))
    rows = union_all(_rows(), kept).subquery()
    name = func.coalesce(ACCOUNTS.c.name, rows.c.account_id)
    columns = {"day": rows.c.day, "account": name, "key": rows.c.key_id, "model": rows.c.model}
    groups = [columns[by].label(f"by_{by}") for by in question.by]
    sums = _summed(rows, *groups)
    sums = sums.select_from(rows.outerjoin(ACCOUNTS, ACCOUNTS.c.id == rows.c.account_id))
    if question.since is not None:
        sums = sums.where(rows.c.day >= question.since)
    if question.until is not None:
        sums = sums.where(rows.c.day <= question.until)
    if question.account is not None:
        sums = sums.where(rows.c.account_id == question.account)
    if question.named is not None:
        sums = sums.where(or_(rows.c.account_id == question.named, ACCOUNTS.c.name == question.named))
    if question.key is not None:
        sums = sums.where(rows.c.key_id == question.key)
    return [
        UsageSum(
            tuple(getattr(row, group.name) for group in groups),
            int(row.n_requests),
            int(row.n_failed),
            Usage(*(int(getattr(row, name)) for name in _TOKENS)),
        )
        for row in connection.execute(sums.order_by(*(group.name for group in groups)))
    ]


def spent(
    connection: Connection, accounts: Collection[str], since: str, until: str
) -> list[tuple[str, str, Usage]]:
    """What requests that have ended used from day to day, the last one excluded, by account and key: at least
    of these accounts.
    """
    kept = select(*(USAGE_DAILY.c[name] for name in (*_OF_A_DAY, *_SUMMED)))
    rows = union_all(_rows().where(USAGE.c.finish != OPEN), kept).subquery()
    sums = _summed(rows, rows.c.account_id, rows.c.key_id)
    sums = sums.where(rows.c.day >= since, rows.c.day < until)
    if len(accounts) <= _MAX_NAMED:  # a database takes only so many parameters
        sums = sums.where(rows.c.account_id.in_(accounts))
    return [
        (row.account_id, row.key_id, Usage(*(int(getattr(row, name)) for name in _TOKENS)))
        for row in connection.execute(sums)
    ]


def _row(instance: str, entry: LedgerEntry) -> dict[str, object]:
    return {
        "account_id": entry.account,
        "instance": instance,
        "day": day_of(entry.begun_s),
        **{name: getattr(entry, name) for name in _OF_ENTRY},
        **{name: getattr(entry.usage, name) for name in _TOKENS},
    }


@cache
def _writing(dialect: Dialect) -> str:
    """The statement in the driver's form, cached: compiling it would take as long as a commit."""
    insert = _insert(dialect.name, USAGE)
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


def _insert(dialect: str, table: Table) -> Insert:
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


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
