"""The pepper: what the digests of keys and the salts of caches are made with, so that a stolen store is of no
use. It is the same for every server of a store.
"""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from tessera.errors import StartupError

MIN_CHARACTERS = 32


def find_pepper(given: str | None, database: Path | None) -> bytes:
    """The given one; else the one in the file beside the SQLite database, which is made if it is missing.

    Raises `StartupError`.
    """
    if given is not None:
        return given.encode()
    if database is None:
        raise StartupError(
            f"With PostgreSQL TESSERA_PEPPER is needed: {MIN_CHARACTERS} characters of chance or more, the "
            "same for every server and for the commands that make keys."
        )
    path = database.with_name(database.name + ".pepper")
    try:
        if not path.exists():
            _make(path)
        pepper = path.read_bytes().strip()
    except OSError as error:
        raise StartupError(f"The pepper {path} cannot be read or made: {error.strerror}.") from error
    if len(pepper) < MIN_CHARACTERS:
        raise StartupError(f"The pepper {path} is damaged: it has fewer than {MIN_CHARACTERS} characters.")
    return pepper


def _make(path: Path) -> None:
    """It appears whole, and of several that are made at once one stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_urlsafe(48))
        file.flush()
        os.fsync(file.fileno())
    try:
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
