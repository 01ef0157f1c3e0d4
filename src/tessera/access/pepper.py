"""The pepper: the secret that digests of keys and salts of caches are derived from. Without it a stolen store
is useless. All servers of a store have the same one.
"""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from tessera.errors import StartupError
from tessera.store import peppers

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
    try:
        if not path.exists():
            if not may_create:
                raise peppers.missing(path)
            _make(path)
    except OSError as error:
        raise _unusable(path, error) from error
    return _read(path)


def find_former(given: str | None, database: Path | None) -> bytes | None:
    """The pepper before a rotation: the one that is `given`, else that of the file that it left."""
    if given is not None:
        return given.encode()
    path = None if database is None else former_path(database)
    return _read(path) if path and path.exists() else None


def pepper_path(database: Path) -> Path:
    """The file of the pepper beside an SQLite database."""
    return database.with_name(database.name + ".pepper")


def former_path(database: Path) -> Path:
    """The file of the pepper before a rotation."""
    return database.with_name(database.name + ".pepper.previous")


def rotate_file(database: Path) -> None:
    """Makes a new pepper; the one before it is kept in a file of its own. Raises `StartupError`."""
    path, former = pepper_path(database), former_path(database)
    if former.exists():
        raise StartupError(
            f"A rotation has begun already: {former} has the pepper before it. Delete that file when no key "
            "needs it any more: see `tessera store check`."
        )
    try:
        draft = _draft(path)
        path.rename(former)
        draft.rename(path)
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
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_urlsafe(48))
        file.flush()
        os.fsync(file.fileno())
    return draft


def _make(path: Path) -> None:
    """Creates the file atomically; if several processes race, the first one wins."""
    draft = _draft(path)
    try:
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
