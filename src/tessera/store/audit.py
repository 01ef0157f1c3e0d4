"""The audit: a row for every change to accounts and keys, written in the transaction of the change."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, insert, or_, select

from tessera.store.tables import AUDIT, KEYS


@dataclass(frozen=True, slots=True)
class Change:
    """`subject` is the id of the account or key that was changed, `detail` what it is now."""

    id: int
    at_s: float
    actor: str
    action: str
    subject: str
    detail: Mapping[str, object]


def record(
    connection: Connection, actor: str, action: str, subject: str, detail: Mapping[str, object] | None = None
) -> None:
    """`subject` is the id of what was changed, `detail` its new values, without secrets."""
    row = {"at_s": time.time(), "actor": actor, "action": action, "subject": subject}
    connection.execute(insert(AUDIT).values(**row, detail=dict(detail or {})))


def was_deleted(connection: Connection, account_id: str) -> bool:
    """Whether an account of this id was deleted."""
    deletion = select(AUDIT.c.id).where(AUDIT.c.subject == account_id, AUDIT.c.action == "account.delete")
    return connection.scalar(deletion.limit(1)) is not None


def search(
    connection: Connection,
    *,
    account_id: str | None,
    key_id: str | None,
    since_s: float,
    before: int | None,
    limit: int,
) -> list[Change]:
    """The latest first: those of an account and its keys, of a key, since a time, with ids below `before`."""
    is_wanted = [AUDIT.c.at_s >= since_s]
    if before is not None:
        is_wanted.append(AUDIT.c.id < before)
    if account_id is not None:
        its_keys = select(KEYS.c.id).where(KEYS.c.account_id == account_id)
        is_wanted.append(or_(AUDIT.c.subject == account_id, AUDIT.c.subject.in_(its_keys)))
    if key_id is not None:
        is_wanted.append(AUDIT.c.subject == key_id)
    query = select(AUDIT).where(*is_wanted).order_by(AUDIT.c.id.desc()).limit(limit)
    return [Change(*row) for row in connection.execute(query)]
