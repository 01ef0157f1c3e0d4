"""Adds requests to the sums of their day as they end, and deletes the rows of old ones. Both are done in
small pieces, so that the writing of new entries does not wait.
"""

import asyncio
import logging
import time
from concurrent.futures import Executor
from functools import partial

from tessera.core.usage import DAY_S, day_of
from tessera.observe.logs import log
from tessera.store import usage
from tessera.store.database import Database, transaction
from tessera.store.threads import call_within

AT_ONCE = 1000
"""The most rows of a piece."""

PIECES_A_HEARTBEAT = 5
PIECE_S = 5.0
PAUSE_S = 60.0
RETRY_S = 60.0

_logger = logging.getLogger(__name__)


async def keep_rolling_up(
    store: Database, threads: Executor, retention_days: int, heartbeat_s: float
) -> None:
    """Keeps the sums of days up to date, and only the rows of `retention_days`. Runs until cancelled; while
    there is work, it does a few pieces in the time of a heartbeat.
    """
    while True:
        try:
            n_rows = await call_within(threads, partial(_roll_up, store, retention_days), PIECE_S)
            pause_s = heartbeat_s / PIECES_A_HEARTBEAT if n_rows == AT_ONCE else PAUSE_S
        except Exception as error:  # requests, and later tries, must go on after any error
            log(_logger, "warning", "old usage cannot be added up now", reason=type(error).__name__)
            pause_s = RETRY_S
        await asyncio.sleep(pause_s)


def kept_since(retention_days: int) -> str:
    """The first day whose single requests are kept, as an ISO date in UTC."""
    return day_of(time.time() - retention_days * DAY_S)


def _roll_up(store: Database, retention_days: int) -> int:
    """Does one piece of each work; returns the larger of their numbers of rows."""
    with transaction(store) as connection:
        n_counted = usage.count_ended(connection, AT_ONCE)
    with transaction(store) as connection:
        return max(n_counted, usage.roll_up(connection, kept_since(retention_days), AT_ONCE))
