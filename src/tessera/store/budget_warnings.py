"""Thresholds of budgets that were crossed: each is recorded once, with the message that is sent of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from tessera.store.database import locked
from tessera.store.tables import BUDGET_WARNINGS

_AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class DueMessage:
    """A message that is to be sent now, for the `n_attempts`-th time. No other server sends it meanwhile."""

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
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    row = {
        "id": id,
        "account_id": account_id,
        "crossed_s": at_s,
        "message": dict(message),
        "n_attempts": 0,
        "next_attempt_s": at_s if is_sent else None,
    }
    statement = dialect.insert(BUDGET_WARNINGS).values(**row).on_conflict_do_nothing()
    return connection.execute(statement).rowcount == 1


def claim_due(
    connection: Connection, now_s: float, pause_s: Callable[[int], float | None]
) -> list[DueMessage]:
    """Messages that are due. Each is due again after `pause_s` of its number of attempts, for the case that
    this one fails; None makes it the last one.
    """
    is_due = BUDGET_WARNINGS.c.next_attempt_s <= now_s
    oldest = select(BUDGET_WARNINGS).where(is_due).order_by(BUDGET_WARNINGS.c.next_attempt_s).limit(_AT_ONCE)
    due: list[DueMessage] = []
    for row in connection.execute(locked(connection, oldest)).mappings().all():
        n_attempts = row["n_attempts"] + 1
        wait_s = pause_s(n_attempts)
        changed = update(BUDGET_WARNINGS).where(BUDGET_WARNINGS.c.id == row["id"])
        next_s = None if wait_s is None else now_s + wait_s
        connection.execute(changed.values(n_attempts=n_attempts, next_attempt_s=next_s))
        due.append(DueMessage(row["id"], row["message"], n_attempts))
    return due


def set_delivered(connection: Connection, id: str) -> None:
    """The message is not sent again."""
    changed = update(BUDGET_WARNINGS).where(BUDGET_WARNINGS.c.id == id)
    connection.execute(changed.values(next_attempt_s=None))


def forget_old(connection: Connection, before_s: float) -> None:
    """Deletes what was crossed in periods that are long over."""
    connection.execute(delete(BUDGET_WARNINGS).where(BUDGET_WARNINGS.c.crossed_s < before_s))
