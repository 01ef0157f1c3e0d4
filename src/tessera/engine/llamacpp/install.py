"""Gets a library of llama.cpp into a folder of its own, where the engine finds it.

The engine's folder has a package, or a link to a library of the operator's.

Where there is a compiler, llama-cpp-python is built, since a library that is built where it runs uses all
that the processor can do; elsewhere, the wheel of xllamacpp is taken. Of a package only the library is used.
It replaces an earlier one after its layout has been checked.
"""

import shutil
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

from tessera.engine.llamacpp.library import Library, library_in, locate
from tessera.engine.packages import (
    engine_folder,
    pip_install,
    put_in_place,
    read_description,
    work_folder,
)
from tessera.errors import CommandError, StartupError
from tessera.models.progress import Progress, watching
from tessera.processes import children

Backend = Literal["cuda", "metal", "vulkan"]

BUILT = "llama-cpp-python==0.3.36"
PREBUILT = "xllamacpp==2026.10.11549"
"""The versions that were tried."""
_PREBUILT_BYTES = 34_000_000
_BUILD = "Building llama.cpp, which takes a quarter of an hour of one core"
_SWITCHES: Mapping[Backend | None, str] = {
    None: "-DGGML_NATIVE=on",
    "cuda": "-DGGML_NATIVE=on -DGGML_CUDA=on",
    "metal": "-DGGML_METAL=on",
    "vulkan": "-DGGML_NATIVE=on -DGGML_VULKAN=on",
}
_LINK = "library"
_NAME = "llamacpp"


def install_folder() -> Path:
    """Where the library is installed: in the user's data directory."""
    return engine_folder(_NAME)


def installed_library() -> Path | None:
    """The library that was installed, if it is still there."""
    folder = install_folder()
    if (link := folder / _LINK).exists():
        return link.resolve()
    return library_in(folder)


def has_library(explicit: Path | None) -> bool:
    """Whether there is a library, which may yet be one that cannot be used."""
    try:
        locate(explicit or installed_library())
    except StartupError:
        return False
    return True


def install(backend: Backend | None, progress: Progress) -> Library:
    """Builds or fetches a library; raises `CommandError` or `StartupError`, and then leaves all as it was."""
    compiles = shutil.which("cmake") is not None and (shutil.which("c++") or shutil.which("cl")) is not None
    if backend is not None and not compiles:
        raise CommandError(f"--{backend} builds llama.cpp: a C++ compiler and cmake are needed on the PATH.")
    work = _work_folder()
    if compiles:
        with progress.stage(_BUILD):
            _pip(work, BUILT, f"--no-binary={BUILT.partition('=')[0]}", CMAKE_ARGS=_SWITCHES[backend])
    else:
        progress.note("There is no C++ compiler with cmake: a library for any processor is taken.")
        stage = progress.stage(f"Fetching {PREBUILT}", _PREBUILT_BYTES)
        with stage as report, watching(lambda: _size(work), report):
            _pip(work, PREBUILT, "--only-binary=:all:")
    path = library_in(work)
    if path is None:
        raise CommandError(f"{BUILT if compiles else PREBUILT} came without a library of llama.cpp.")
    library = describe_library(path)
    put_in_place(_NAME)
    return replace(library, path=install_folder() / path.relative_to(work))


def install_link(path: Path) -> Library:
    """Takes a library of the operator's; raises `StartupError` if it cannot be used."""
    library = describe_library(path.resolve())
    work = _work_folder()
    (work / _LINK).symlink_to(path.resolve())
    put_in_place(_NAME)
    return library


def describe_library(path: Path | None) -> Library:
    """What the library at `path` is, or without one the library that the engine would use.

    It is loaded in a process of its own, for it may end the process. Raises `StartupError`.
    """
    arguments = [] if path is None else [str(path)]
    done = children.run(
        children.command("tessera.engine.llamacpp.library", *arguments), {"GGML_NO_BACKTRACE": "1"}
    )
    if done.returncode < 0:
        raise StartupError(f"{path} ended with {signal.Signals(-done.returncode).name} when it was loaded.")
    return read_description(done, Library, f"{path} could not be loaded.")


def _work_folder() -> Path:
    work = work_folder(_NAME)
    work.mkdir(parents=True)
    return work


def _pip(target: Path, requirement: str, *flags: str, **variables: str) -> None:
    scratch = target / ".scratch"
    scratch.mkdir()
    arguments = ("--no-deps", "--target", str(target), *flags, requirement)
    kept = {"TMPDIR": str(scratch), "PIP_NO_CACHE_DIR": "1", **variables}
    try:
        pip_install(requirement, arguments, variables=kept)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total
