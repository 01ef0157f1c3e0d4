"""The pepper: the secret that digests of keys and salts of caches are derived from. Without it a stolen store
is useless. All servers of a store have the same one.
"""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from tessera.errors import StartupError
from tessera.store import peppers
from tessera.store.files import create_private

MIN_CHARACTERS = 32


def find_pepper(given: str | None, database: Path | None, *, may_create: bool = True) -> bytes:
    """The pepper that is `given`, else that of the file beside the SQLite database. If that is missing, it is
    created, unless the store has keys already. Raises `StartupError`.
    """
    if given is not None:
        return given.encode()
    if database is None:
        raise StartupError(
            f"With PostgreSQL TESSERA_PEPPER is needed: {MIN_CHARACTERS} characters of chance or more, the "
            "same for every server and for the commands that make keys."
        )
    path = pepper_path(database)
    if not _exists(path):
        if not may_create:
            raise peppers.missing(path)
        try:
            _make(path)
        except OSError as error:
            raise _unusable(path, error) from error
    return _read(path)


def find_former(given: str | None, database: Path | None) -> bytes | None:
    """The pepper before a rotation: the one that is `given`, else that of the file that it left."""
    if given is not None:
        return given.encode()
    if database is None:
        return None
    path = former_path(database)
    return _read(path) if _exists(path) else None


def pepper_path(database: Path) -> Path:
    """The file of the pepper beside an SQLite database."""
    return database.with_name(database.name + ".pepper")


def former_path(database: Path) -> Path:
    """The file of the pepper before a rotation."""
    return database.with_name(database.name + ".pepper.previous")


def has_pepper_file(database: Path) -> bool:
    """Whether there is a pepper beside an SQLite database. Raises `StartupError`."""
    return _exists(pepper_path(database))


def rotate_file(database: Path) -> None:
    """Makes a new pepper; the one before it is kept in a file of its own. Raises `StartupError`."""
    path, former = pepper_path(database), former_path(database)
    if _exists(former):
        raise StartupError(
            f"A rotation has begun already: {former} has the pepper before it. Delete that file when no key "
            "needs it any more: see `tessera store check`."
        )
    try:
        draft = _draft(path)
        try:
            os.link(path, former)  # at no time is there no pepper
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise _unusable(path, error) from error


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise _unusable(path, error) from error


def _read(path: Path) -> bytes:
    try:
        pepper = path.read_bytes().strip()
    except OSError as error:
        raise _unusable(path, error) from error
    if len(pepper) < MIN_CHARACTERS:
        raise StartupError(f"The pepper {path} is damaged: it has fewer than {MIN_CHARACTERS} characters.")
    return pepper


def _unusable(path: Path, error: OSError) -> StartupError:
    return StartupError(f"The pepper {path} cannot be read or created: {error.strerror}.")


def _draft(path: Path) -> Path:
    """A file with a new pepper, under another name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(create_private(draft), "w") as file:
        try:
            file.write(secrets.token_urlsafe(48))
            file.flush()
            os.fsync(file.fileno())
        except OSError:  # as on a full disk
            draft.unlink()
            raise
    return draft


def _make(path: Path) -> None:
    """Creates the file atomically; if several processes race, the first one wins."""
    draft = _draft(path)
    try:
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
