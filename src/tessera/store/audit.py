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


@dataclass(frozen=True, slots=True)
class AuditSearch:
    """Which changes to show; None is all. `account_id` selects those of an account and its keys; `before` is
    the id of the change to stop before.
    """

    account_id: str | None = None
    key_id: str | None = None
    since_s: float | None = None
    before: int | None = None
    limit: int = 100


def record(
    connection: Connection, actor: str, action: str, subject: str, detail: Mapping[str, object] | None = None
) -> None:
    """`subject` is the id of what was changed, `detail` its new values, without secrets."""
    row = {"at_s": time.time(), "actor": actor, "action": action, "subject": subject}
    connection.execute(insert(AUDIT).values(**row, detail=dict(detail or {})))


def search(connection: Connection, wanted: AuditSearch) -> list[Change]:
    """The latest first."""
    query = select(AUDIT).order_by(AUDIT.c.id.desc()).limit(wanted.limit)
    if wanted.account_id is not None:
        its_keys = select(KEYS.c.id).where(KEYS.c.account_id == wanted.account_id)
        query = query.where(or_(AUDIT.c.subject == wanted.account_id, AUDIT.c.subject.in_(its_keys)))
    if wanted.key_id is not None:
        query = query.where(AUDIT.c.subject == wanted.key_id)
    if wanted.since_s is not None:
        query = query.where(AUDIT.c.at_s >= wanted.since_s)
    if wanted.before is not None:
        query = query.where(AUDIT.c.id < wanted.before)
    return [
        Change(row.id, row.at_s, row.actor, row.action, row.subject, row.detail)
        for row in connection.execute(query)
    ]
