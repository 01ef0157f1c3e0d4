"""The pepper: the secret that digests of keys and salts of caches are derived from. Without it a stolen store
is useless. All servers of a store have the same one.
"""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from tessera.errors import StartupError

MIN_CHARACTERS = 32


def find_pepper(given: str | None, database: Path | None) -> bytes:
    """The pepper that is `given`, else that of the file beside the SQLite database, which is created if it is
    missing. Raises `StartupError`.
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
        raise StartupError(f"The pepper {path} cannot be read or created: {error.strerror}.") from error
    if len(pepper) < MIN_CHARACTERS:
        raise StartupError(f"The pepper {path} is damaged: it has fewer than {MIN_CHARACTERS} characters.")
    return pepper


def _make(path: Path) -> None:
    """Creates the file atomically; if several processes race, the first one wins."""
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
