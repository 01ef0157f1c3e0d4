"""Migrates the store to this version's schema before it is used.

API processes do not need this, and start without alembic, which takes long to import.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

from tessera.errors import CommandError, StartupError, StoreUnavailable
from tessera.observe.logs import log
from tessera.server.storage import adopt_pepper, database_url, opened, spool_folder, spools_of_others
from tessera.settings import Settings
from tessera.store.database import Database, Transaction, sqlite_path, transaction
from tessera.store.failures import reason_of
from tessera.store.migration import current, latest, upgrade

RETRY_S = 2.0
_logger = logging.getLogger(__name__)


@contextmanager
def changing(settings: Settings) -> Generator[Transaction]:
    """A transaction on the configured store; an empty database gets its tables first.

    Raises `CommandError` if it is at another revision than this version's.
    """
    with opened(settings) as store:
        if (found := current(store)) is None:
            upgrade(store)
        elif found != latest():
            raise CommandError(
                f"The store is at revision {found}, and this version needs {latest()}. Run `tessera store "
                "upgrade`."
            )
        with transaction(store) as changes:
            yield changes


@asynccontextmanager
async def prepared(settings: Settings) -> AsyncGenerator[Database]:
    """The migrated store. A PostgreSQL that cannot be reached now is migrated as soon as it can be. Raises
    `StartupError` for an SQLite file that cannot be used, and for a pepper that is not that of the store.
    """
    own = str(spool_folder(settings))
    for folder in spools_of_others(settings):
        log(_logger, "warning", "usage waits for a store of another address", folder=str(folder), own=own)
    with opened(settings) as store:
        later = None
        try:
            await asyncio.to_thread(_upgrade, settings, store)
        except StoreUnavailable as error:
            if path := sqlite_path(database_url(settings)):
                raise StartupError(f"The store {path} cannot be used: {reason_of(error)}.") from error
            reason = reason_of(error)
            log(_logger, "error", "store unavailable, serving without it", reason=reason, retry_in_s=RETRY_S)
            later = asyncio.create_task(_upgrade_later(settings, store, reason))
        try:
            yield store
        finally:
            if later:
                later.cancel()
                await asyncio.gather(later, return_exceptions=True)


def _upgrade(settings: Settings, store: Database) -> None:
    upgrade(store)
    adopt_pepper(settings, store)


async def _upgrade_later(settings: Settings, store: Database, reason: str) -> None:
    while True:
        await asyncio.sleep(RETRY_S)
        try:
            await asyncio.to_thread(_upgrade, settings, store)
        except Exception as error:  # of any class: an operator may solve the problem
            if (other := reason_of(error)) != reason:
                reason = other
                log(_logger, "error", "store still unavailable", reason=reason, retry_in_s=RETRY_S)
            continue
        log(_logger, "info", "store available")
        return
