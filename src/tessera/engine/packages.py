"""What engines are installed from: packages, in folders of the user's data directory.

    <data directory>/engines/<name>/

A folder is made beside the one that it replaces, and takes its place when what is in it has been checked.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import CompletedProcess
from typing import TypeVar

import msgspec
import platformdirs

from tessera.errors import CommandError, StartupError
from tessera.processes import children

T = TypeVar("T")

_QUIETLY = ("--no-input", "--disable-pip-version-check", "--progress-bar=off", "--no-compile")
_MOST_LINES = 8


def engine_folder(name: str) -> Path:
    """Where the packages of an engine are."""
    return platformdirs.user_data_path("tessera", appauthor=False) / "engines" / name


def work_folder(name: str) -> Path:
    """Where a new folder is made, which is not there yet."""
    work = engine_folder(name).with_name(f".{name}.new")
    shutil.rmtree(work, ignore_errors=True)
    return work


def put_in_place(name: str) -> None:
    """Makes the new folder that of the engine."""
    folder = engine_folder(name)
    old = folder.with_name(f".{name}.old")
    shutil.rmtree(old, ignore_errors=True)
    with suppress(FileNotFoundError):
        os.rename(folder, old)
    os.rename(folder.with_name(f".{name}.new"), folder)
    shutil.rmtree(old, ignore_errors=True)


def pip_install(
    wanted: str, arguments: Sequence[str], *, python: str | None = None, variables: Mapping[str, str]
) -> None:
    """Runs `pip install` with the arguments; raises `CommandError`, which names what was `wanted`. The
    interpreter `python` is that of another environment.
    """
    command = children.command("pip", "install", *_QUIETLY, *arguments, python=python)
    done = children.run(command, variables)
    if done.returncode:
        said = _said(done)
        errors = [line for line in said if "rror" in line] or said
        raise CommandError(f"pip could not install {wanted}:\n" + "\n".join(errors[-_MOST_LINES:]))


def read_description(done: CompletedProcess[str], kind: type[T], otherwise: str) -> T:
    """What a program has printed as JSON in its last line. If it has failed, raises `StartupError` with the
    last line of its errors, or `otherwise`.
    """
    if done.returncode:
        raise StartupError((_said(done) or [otherwise])[-1])
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=kind, dec_hook=_decode)


def _said(done: CompletedProcess[str]) -> list[str]:
    return [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]


def _decode(kind: type[Path], text: str) -> Path:
    return kind(text)
