"""The folder that models are kept in.

    <root>/models/<name>/           a whole model; it appears by a rename and never changes
    <root>/models/.<name>.partial/  one that is being made, or was when its process ended
    <root>/models/.<name>.lock      held while it is made

Processes that want the same model take turns: the first makes it, the others find it made.
"""

import fcntl
import os
import re
import shutil
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import platformdirs

from tessera.errors import ModelError
from tessera.models import manifest
from tessera.models.manifest import Damaged, Manifest
from tessera.models.progress import Progress


@dataclass(frozen=True, slots=True)
class Origin:
    """The result of a build; `kept` names files that serving does not read. `hashes` has the SHA-256 of files
    for which the build has computed it.
    """

    model_id: str
    origin: str
    kept: tuple[str, ...] = ()
    hashes: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class CachedModel:
    """A whole model in the cache."""

    name: str
    path: Path
    manifest: Manifest

    @property
    def size_bytes(self) -> int:
        """All files together."""
        return sum(record.size for record in self.manifest.files.values())

    def verify(self) -> None:
        """Reads every file; raises `Damaged`."""
        manifest.check(self.path, self.manifest, whole=True)


Build = Callable[[Path], Origin]
"""Fills a folder. What an interrupted build left in it is still there, for this build to resume or remove."""


def default_root() -> Path:
    """The folder of this user's caches; raises `ModelError` if there is none."""
    root = platformdirs.user_cache_path("tessera", appauthor=False)
    if not root.is_absolute():
        raise ModelError("This user has no home for models: set TESSERA_CACHE_DIR.")
    return root


def entry_name(text: str) -> str:
    """A folder name for any text, the same for the same text."""
    return re.sub(r"[^A-Za-z0-9._@-]+", "--", text).strip(".-") or "model"


@dataclass(frozen=True, slots=True)
class Cache:
    """All cached models below `root`."""

    root: Path

    @property
    def _models(self) -> Path:
        return self.root / "models"

    def entries(self) -> list[CachedModel]:
        """All models, by name."""
        if not self._models.is_dir():
            return []
        names = sorted(path.name for path in self._models.iterdir() if not path.name.startswith("."))
        return [entry for name in names if (entry := self._read(name))]

    def find(self, name: str) -> CachedModel | None:
        """The model of that name if it is there; raises `Damaged` if its files have changed."""
        entry = self._read(name)
        if entry:
            manifest.check(entry.path, entry.manifest, whole=False)
        return entry

    def ensure(self, name: str, build: Build, progress: Progress) -> CachedModel:
        """The model of that name, made by `build` if it is missing or damaged.

        Raises `ModelError` if it cannot be made.
        """
        try:
            if entry := self._usable(name, progress):
                return entry
            with self._lock(name, progress):
                return self._usable(name, progress) or self._make(name, build)
        except OSError as error:
            where = error.filename or self.root
            raise ModelError(f"The model cache cannot be used: {where}: {error.strerror or error}") from error

    def remove(self, name: str, progress: Progress) -> None:
        """Deletes a model. A process that serves it goes on: it holds the files open. Raises `OSError`."""
        with self._lock(name, progress):
            shutil.rmtree(self._models / name)
            shutil.rmtree(self._partial(name), ignore_errors=True)

    def _partial(self, name: str) -> Path:
        return self._models / f".{name}.partial"

    def _read(self, name: str) -> CachedModel | None:
        path = self._models / name
        found = manifest.read(path)
        return CachedModel(name, path, found) if found else None

    def _usable(self, name: str, progress: Progress) -> CachedModel | None:
        try:
            return self.find(name)
        except Damaged as damage:
            progress.note(f"A cached model is damaged and will be made again: {damage}")
            return None

    def _make(self, name: str, build: Build) -> CachedModel:
        partial, final = self._partial(name), self._models / name
        partial.mkdir(exist_ok=True)
        (partial / manifest.NAME).unlink(missing_ok=True)
        made = build(partial)
        files = manifest.records(partial, made.hashes)
        written = Manifest(made.model_id, made.origin, int(time.time()), files, made.kept)
        manifest.write(partial, written)
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        manifest.sync(self._models)
        return CachedModel(name, final, written)

    @contextmanager
    def _lock(self, name: str, progress: Progress) -> Generator[None]:
        self._models.mkdir(parents=True, exist_ok=True)
        with (self._models / f".{name}.lock").open("a") as file:
            # Children inherit the lock (see `children.run`): if this process is killed, the next one
            # waits until the child has stopped writing.
            os.set_inheritable(file.fileno(), True)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                progress.note(f"Another process is preparing {name}; waiting for it.")
                fcntl.flock(file, fcntl.LOCK_EX)
            yield
