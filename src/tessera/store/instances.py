"""Instances: the processes that write usage, with their heartbeats."""

import time
from collections.abc import Sequence

from sqlalchemy import Connection, delete, select, text

from tessera.store.database import insert_into
from tessera.store.tables import INSTANCES

DEAD_AFTER_S = 60.0
"""An instance without a heartbeat for so long is dead; one whose files are not locked is dead already."""


def clock_s(connection: Connection) -> float:
    """The database's Unix time: all instances judge by this clock which of them live."""
    if connection.dialect.name == "postgresql":
        return float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
    return time.time()  # SQLite's file is on this machine


def beat(connection: Connection, instance: str, now_s: float, tiers: Sequence[str] = ()) -> None:
    """Records that the instance lives, and which tiers it knows."""
    insert = insert_into(connection.dialect, INSTANCES)
    upsert = insert.on_conflict_do_update(index_elements=["id"], set_={"seen_s": insert.excluded.seen_s})
    connection.execute(upsert, {"id": instance, "seen_s": now_s, "tiers": list(tiers)})


def tiers_of_running(connection: Connection) -> list[list[str]]:
    """The tiers that each running instance knows."""
    is_alive = INSTANCES.c.seen_s >= clock_s(connection) - DEAD_AFTER_S
    known = connection.scalars(select(INSTANCES.c.tiers).where(is_alive))
    return [tiers for tiers in known if tiers]


def forget(connection: Connection, instance: str) -> None:
    """The instance has ended: `usage.close_abandoned` then closes the rows that it left open."""
    connection.execute(delete(INSTANCES).where(INSTANCES.c.id == instance))
