"""Who changed what, and when: a row for every change to accounts and keys, in the same transaction."""

import time
from collections.abc import Mapping

from sqlalchemy import Connection, insert

from tessera.store.tables import AUDIT


def record(
    connection: Connection, actor: str, action: str, subject: str, detail: Mapping[str, object] | None = None
) -> None:
    """`subject` is the id of what was changed, `detail` what it is now; no secret is among it."""
    row = {"at_s": time.time(), "actor": actor, "action": action, "subject": subject}
    connection.execute(insert(AUDIT).values(**row, detail=dict(detail or {})))
