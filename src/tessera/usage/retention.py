"""Old usage becomes sums of days: in small pieces, beside the writing, which goes on if this cannot."""

import asyncio
import logging
import time
from concurrent.futures import Executor
from functools import partial

from tessera.observe.logs import log
from tessera.store import usage
from tessera.store.asking import ask
from tessera.store.opening import Store, transaction

AT_ONCE = 1000
PIECES_A_ROUND = 5
PIECE_S = 5.0
PAUSE_S, RETRY_S = 3600.0, 60.0

_logger = logging.getLogger(__name__)


async def keep_rolling_up(store: Store, threads: Executor, retention_days: int, round_s: float) -> None:
    """Add up what is older than that, until cancelled: a few pieces in each round while there are any."""
    while True:
        try:
            n_rows = await ask(threads, partial(_roll_up, store, retention_days), PIECE_S)
            pause_s = round_s / PIECES_A_ROUND if n_rows == AT_ONCE else PAUSE_S
        except Exception as error:  # whatever it is, requests go on, and so does this
            log(_logger, "warning", "old usage cannot be added up now", reason=type(error).__name__)
            pause_s = RETRY_S
        await asyncio.sleep(pause_s)


def kept_since(retention_days: int) -> str:
    """The first day of which single requests are kept, as an ISO date in UTC."""
    return usage.day_of(time.time() - retention_days * usage.DAY_S)


def _roll_up(store: Store, retention_days: int) -> int:
    with transaction(store) as connection:
        return usage.roll_up(connection, kept_since(retention_days), AT_ONCE)
