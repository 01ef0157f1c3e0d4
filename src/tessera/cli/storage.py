"""The store as commands use it: where it is, and that its tables are those of this version."""

import asyncio
import getpass
import hashlib
import logging
import os
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import platformdirs

from tessera.access.pepper import find_pepper
from tessera.errors import StartupError, StoreUnavailable
from tessera.settings import Settings
from tessera.store.migration import current, latest, upgrade
from tessera.store.opening import Changes, Store, default_url, open_store, shown, sqlite_path, transaction
from tessera.telemetry import log

RETRY_S = 2.0
_logger = logging.getLogger(__name__)


def database_url(settings: Settings) -> str:
    """Where the store is."""
    return settings.database_url or default_url()


def pepper(settings: Settings) -> bytes:
    """What the store's digests are made with; raises `StartupError`."""
    return find_pepper(settings.pepper, sqlite_path(database_url(settings)))


def spool_folder(settings: Settings) -> Path:
    """Where usage waits while the store is away; each store has its own."""
    url = database_url(settings)
    if path := sqlite_path(url):
        return path.with_name(path.name + ".spool")
    of_store = hashlib.sha256(shown(url).encode()).hexdigest()[:12]
    return platformdirs.user_data_path("tessera") / f"{of_store}.spool"


@contextmanager
def opened(settings: Settings) -> Generator[Store]:
    """The store that the settings name, as it is."""
    store = open_store(database_url(settings))
    try:
        yield store
    finally:
        store.dispose()


@contextmanager
def changing(settings: Settings) -> Generator[Changes]:
    """One transaction on the store that the settings name; an empty one gets its tables first.

    Raises `StartupError` if it is at another revision than this version's.
    """
    with opened(settings) as store:
        if (found := current(store)) is None:
            upgrade(store)
        elif found != latest():
            raise StartupError(
                f"The store is at revision {found}, and this version needs {latest()}. Run `tessera store "
                "upgrade`."
            )
        with transaction(store) as changes:
            yield changes


@asynccontextmanager
async def prepared(settings: Settings) -> AsyncGenerator[Store]:
    """The store, which is brought up to date before, or, if it is a PostgreSQL that cannot be reached now, as
    soon as it can be. Raises `StartupError` for an SQLite file that cannot be used.
    """
    with opened(settings) as store:
        later = None
        try:
            await asyncio.to_thread(upgrade, store)
        except StoreUnavailable as error:
            if path := sqlite_path(database_url(settings)):
                reason = error.__cause__.__cause__ if error.__cause__ else None
                raise StartupError(f"The store {path} cannot be used: {reason or error.message}.") from error
            log(_logger, "error", "store unavailable, serving without it", retry_in_s=RETRY_S)
            later = asyncio.create_task(_upgrade_later(store))
        try:
            yield store
        finally:
            if later:
                later.cancel()
                await asyncio.gather(later, return_exceptions=True)


def actor() -> str:
    """Who runs the command, for the audit."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a user id without a name, as in containers
        return f"cli:{os.getuid()}"


async def _upgrade_later(store: Store) -> None:
    while True:
        await asyncio.sleep(RETRY_S)
        try:
            await asyncio.to_thread(upgrade, store)
        except StoreUnavailable:
            continue
        log(_logger, "info", "store available")
        return
