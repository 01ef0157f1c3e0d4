"""Thresholds of budgets that were crossed: each is recorded once, with the message that is sent of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, or_, select, update

from tessera.store.database import insert_into, locked
from tessera.store.tables import BUDGET_WARNINGS


@dataclass(frozen=True, slots=True)
class DueMessage:
    """A message that is to be sent now, for the `n_attempts`-th time."""

    id: str
    message: Mapping[str, object]
    n_attempts: int


def record(
    connection: Connection,
    id: str,
    account_id: str,
    message: Mapping[str, object],
    *,
    at_s: float,
    is_sent: bool,
) -> bool:
    """Returns whether this is the first time. If `is_sent`, the message is due at once."""
    row = {
        "id": id,
        "account_id": account_id,
        "crossed_s": at_s,
        "message": dict(message),
        "n_attempts": 0,
        "next_attempt_s": at_s if is_sent else None,
    }
    insert = insert_into(connection.dialect, BUDGET_WARNINGS).values(**row).on_conflict_do_nothing()
    return connection.scalar(insert.returning(BUDGET_WARNINGS.c.id)) is not None


def claim_due(
    connection: Connection, now_s: float, pause_s: Callable[[int], float | None]
) -> DueMessage | None:
    """A message that is due, if there is one. No other server sends it before `pause_s` of its number of
    attempts has passed; then it is due again, unless it was delivered. None makes this attempt the last one.

    The messages of an account are sent in their order: one waits while an earlier one is not delivered.
    """
    is_due = BUDGET_WARNINGS.c.next_attempt_s <= now_s
    earlier = BUDGET_WARNINGS.alias("earlier")
    is_before = or_(
        earlier.c.crossed_s < BUDGET_WARNINGS.c.crossed_s,
        and_(
            earlier.c.crossed_s == BUDGET_WARNINGS.c.crossed_s,
            _percent_of(earlier.c.message) < _percent_of(BUDGET_WARNINGS.c.message),
        ),
    )
    waits_for = exists().where(
        earlier.c.account_id == BUDGET_WARNINGS.c.account_id, earlier.c.next_attempt_s.is_not(None), is_before
    )
    oldest = (
        select(BUDGET_WARNINGS)
        .where(is_due, ~waits_for)
        .order_by(BUDGET_WARNINGS.c.crossed_s, BUDGET_WARNINGS.c.id)
        .limit(1)
    )
    row = connection.execute(locked(connection, oldest)).mappings().first()
    if row is None:
        return None
    n_attempts = row["n_attempts"] + 1
    wait_s = pause_s(n_attempts)
    changed = update(BUDGET_WARNINGS).where(BUDGET_WARNINGS.c.id == row["id"])
    next_s = None if wait_s is None else now_s + wait_s
    connection.execute(changed.values(n_attempts=n_attempts, next_attempt_s=next_s))
    return DueMessage(row["id"], row["message"], n_attempts)


def _percent_of(message: ColumnElement[Any]) -> ColumnElement[int]:
    return message["threshold_percent"].as_integer()


def set_delivered(connection: Connection, id: str) -> None:
    """The message is not sent again."""
    changed = update(BUDGET_WARNINGS).where(BUDGET_WARNINGS.c.id == id)
    connection.execute(changed.values(next_attempt_s=None))


def forget_old(connection: Connection, before_s: float) -> None:
    """Deletes what was crossed in periods that are long over."""
    connection.execute(delete(BUDGET_WARNINGS).where(BUDGET_WARNINGS.c.crossed_s < before_s))
