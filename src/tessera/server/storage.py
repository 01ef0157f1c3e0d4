"""Where the store of the settings is, what lies beside it, and who changes it."""

import hashlib
import os
import pwd
import secrets
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs

from tessera.access.keys import KeyHasher
from tessera.access.pepper import find_former, find_pepper, has_pepper_file, pepper_path
from tessera.errors import StoreUnavailable
from tessera.settings import Settings
from tessera.store import peppers
from tessera.store.accounts import can_be_name
from tessera.store.database import (
    Database,
    Transaction,
    default_folder,
    default_url,
    location,
    open_database,
    sqlite_path,
    transaction,
    with_path,
    without_passwords,
)

_MAX_USER_NAME = 90
"""Characters, for which the audit has room."""


def database_url(settings: Settings) -> str:
    """The URL of the store. The path of an SQLite file is absolute, so that it says where the file is."""
    url = settings.database_url or default_url()
    path = sqlite_path(url)
    return url if path is None or path.is_absolute() else with_path(url, path.absolute())


def has_store(settings: Settings) -> bool:
    """False if no store is configured, the operator's key is, and the user has no directory for a store, as
    in a container without a volume. Then that key is the only one, and no usage is recorded.
    """
    if settings.database_url is not None or settings.api_key is None:
        return True
    folder = default_folder()
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return folder is not None and os.access(folder, os.W_OK | os.X_OK)


def pepper(settings: Settings, *, makes_key: bool = False) -> bytes:
    """The secret that the digests of stored keys are derived from. Raises `StartupError`, also for one that
    is not that of the store. A store that cannot be asked now is checked before keys are used. A command that
    `makes_key` needs the pepper of the servers, even if there are no keys yet.
    """
    recorded = peppers.current if makes_key else peppers.current_of_keys
    path = sqlite_path(database_url(settings))
    stored = None
    if path is None or os.access(path, os.F_OK):  # no error where the folder cannot be read
        with suppress(StoreUnavailable), opened(settings) as store, transaction(store) as connection:
            stored = recorded(connection)
    found = find_pepper(settings.pepper, path, may_create=stored is None)
    former = former_pepper(settings)
    if stored is not None and stored not in _check_values(found, former):
        raise peppers.mismatch()
    return found


def former_pepper(settings: Settings) -> bytes | None:
    """The pepper before a rotation, while it is configured; raises `StartupError`."""
    return find_former(settings.previous_pepper, sqlite_path(database_url(settings)))


def secrets_of(settings: Settings) -> tuple[bytes, bytes | None]:
    """The pepper, and the one before a rotation; without a store, a secret of this start. Raises
    `StartupError`.
    """
    if not has_store(settings):
        return secrets.token_bytes(32), None
    return pepper(settings), former_pepper(settings)


def require_pepper(settings: Settings, store: Transaction) -> None:
    """Raises `StartupError` if the pepper is missing, or not that of the store. With PostgreSQL, a command
    that makes no key may do without it.
    """
    match pepper_state(settings, store):
        case "wrong":
            raise peppers.mismatch()
        case "missing":
            raise peppers.missing(pepper_path(sqlite_path(database_url(settings)) or Path()))
        case _:
            return


def pepper_state(settings: Settings, store: Transaction) -> str:
    """`right`, `wrong`, `missing`, or `unknown` if nothing can be compared."""
    stored = peppers.current(store)
    path = sqlite_path(database_url(settings))
    if stored is None or (settings.pepper is None and path is None):
        return "unknown"
    if settings.pepper is None and path and not has_pepper_file(path):
        return "missing"
    found = find_pepper(settings.pepper, path, may_create=False)
    return "right" if stored in _check_values(found, former_pepper(settings)) else "wrong"


def adopt_pepper(settings: Settings, store: Database) -> None:
    """Records the pepper in the migrated store, or its rotation. Raises `StartupError` if it is not that of
    the store.
    """
    hasher = KeyHasher(pepper(settings), former_pepper(settings))
    with transaction(store) as connection:
        peppers.adopt(connection, hasher.check_value, hasher.former_check_value, by="serve")


def _check_values(*secrets: bytes | None) -> list[bytes]:
    return [KeyHasher(secret).check_value for secret in secrets if secret is not None]


def spool_folder(settings: Settings) -> Path:
    """The folder of the usage journal; each database has its own."""
    url = database_url(settings)
    if path := sqlite_path(url):
        return path.with_name(path.name + ".spool")
    of_store = hashlib.sha256(location(url).encode()).hexdigest()[:12]
    return platformdirs.user_data_path("tessera") / f"{of_store}.spool"


def spools_of_others(settings: Settings) -> list[Path]:
    """Folders beside `spool_folder` in which usage waits. If the store's address has changed, one of them may
    be its former folder, whose usage nobody would write.
    """
    own = spool_folder(settings)
    waiting: set[Path] = set()
    for path in own.parent.glob("*.spool/*.usage.jsonl"):
        with suppress(OSError):  # its server may delete it just now
            if path.stat().st_size:
                waiting.add(path.parent)
    return sorted(waiting - {own})


@contextmanager
def opened(settings: Settings) -> Generator[Database]:
    """The configured store, not migrated. `StoreUnavailable` is raised with the reason and the URL."""
    url = database_url(settings)
    store = open_database(url)
    try:
        yield store
    except StoreUnavailable as error:
        if error.reason is None:
            raise
        raise StoreUnavailable(
            f"The store {without_passwords(url)} cannot be used: {error.reason}."
        ) from error
    finally:
        store.dispose()


def actor() -> str:
    """The user who runs the command, for the audit. Not from the environment, which anybody can change."""
    user = os.getuid()
    try:
        name = pwd.getpwuid(user).pw_name
    except KeyError:  # as in containers
        name = ""
    return f"cli:{name if can_be_name(name, _MAX_USER_NAME) else user}"
