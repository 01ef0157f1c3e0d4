"""How files of the store are created."""

import os
from contextlib import suppress
from pathlib import Path


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
