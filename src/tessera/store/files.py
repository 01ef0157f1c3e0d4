"""How files of the store are created and copied."""

import os
from contextlib import suppress
from pathlib import Path

from sqlalchemy import Engine

from tessera.errors import CommandError
from tessera.store.failures import translated_errors


def create_private(path: Path) -> int:
    """Creates a file that only its owner can read, and returns its descriptor. Raises `OSError`.

    If root creates it, it belongs to the owner of its folder, as the files that SQLite creates itself do: a
    command that runs as root must not lock the service out.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    if os.geteuid() == 0:
        folder = path.parent.stat()
        with suppress(PermissionError):  # a root without CAP_CHOWN
            os.fchown(fd, folder.st_uid, folder.st_gid)
    return fd


def copy_to(database: Engine, target: Path) -> None:
    """Copies an SQLite database into a new file, consistent although others write. Raises `CommandError`."""
    if database.dialect.name != "sqlite":
        raise CommandError("This copies SQLite. For PostgreSQL use its own pg_dump.")
    try:
        target.touch(mode=0o600, exist_ok=False)
    except FileExistsError as error:
        raise CommandError(f"{target} exists already. Name a new file.") from error
    except OSError as error:
        raise CommandError(f"{target} cannot be written: {error.strerror}.") from error
    try:
        with translated_errors(database.url), database.connect() as connection:
            alone = connection.execution_options(isolation_level="AUTOCOMMIT")
            alone.exec_driver_sql("VACUUM INTO :target", {"target": str(target)})
    except BaseException:
        target.unlink(missing_ok=True)  # half a copy would pass for one
        raise
