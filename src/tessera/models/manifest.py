"""What a cached model consists of, so that a half-made or damaged one is never taken for a whole one.

The manifest is the last file written into a folder: without one there is no model. It holds the size and the
SHA-256 of every other file.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec

from tessera.errors import ModelError

NAME = "tessera.json"
LAYOUT = 1

# Hashing takes about 0.3 s for 100 MB: up to this size a file is read whole at every start.
HASHED_AT_START_BYTES = 256 * 2**20


class FileRecord(msgspec.Struct, frozen=True):
    """One file, as it was when the folder was made."""

    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """The origin and the files of a model. `kept` names files that serving does not read."""

    model_id: str
    origin: str
    created_s: int
    files: Mapping[str, FileRecord]
    kept: tuple[str, ...] = ()
    layout: int = LAYOUT


class Damaged(ModelError):
    """A folder whose files are not those of its manifest; the message names the first one."""


def sha256(path: Path) -> str:
    """The digest of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def records(folder: Path, known: Mapping[str, str] = MappingProxyType({})) -> dict[str, FileRecord]:
    """Every file below `folder` but the manifest; of those in `known` the SHA-256 is known."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / NAME)
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    return {
        name: FileRecord(path.stat().st_size, known.get(name) or sha256(path)) for name, path in names.items()
    }


def read(folder: Path) -> Manifest | None:
    """The manifest of `folder`; None if it has none or an older layout, `Damaged` if it cannot be read."""
    try:
        manifest = msgspec.json.decode((folder / NAME).read_bytes(), type=Manifest)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, OSError) as error:
        raise Damaged(f"{folder / NAME} cannot be read: {error}") from error
    return manifest if manifest.layout == LAYOUT else None


def check(folder: Path, manifest: Manifest, *, whole: bool) -> None:
    """Raises `Damaged` unless every file is there and as it was.

    `whole` reads all of them; otherwise large files, and those that are only kept, are judged by their size.
    """
    for name, record in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise Damaged(f"{path} is missing")
        if (size := path.stat().st_size) != record.size:
            raise Damaged(f"{path} has {size} bytes instead of {record.size}")
        hashed = whole or (size <= HASHED_AT_START_BYTES and name not in manifest.kept)
        if hashed and sha256(path) != record.sha256:
            raise Damaged(f"{path} is not what it was when it was made")


def write(folder: Path, manifest: Manifest) -> None:
    """Puts the manifest into `folder`, after everything else has reached the disk."""
    for name in manifest.files:
        sync(folder / name)
    (folder / NAME).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2))
    sync(folder / NAME)
    sync(folder)


def sync(path: Path) -> None:
    """Returns when the file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
