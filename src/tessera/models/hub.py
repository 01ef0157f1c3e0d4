"""Models from a Hugging Face hub: `ORGANISATION/NAME[@REVISION][:GGUF]`.

Only the files that serving needs are fetched, all of one commit. A broken connection is resumed where it
broke; after a killed process, whole files are not fetched again. The endpoint, the token and the offline mode
are set by `huggingface_hub`'s own variables.
"""

import re
import shutil
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tessera.errors import ModelError
from tessera.models.folder import SERVED_FILES
from tessera.models.progress import Progress, watching
from tessera.models.source import WeightsForm

_SYNTAX = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?(?::([\w.-]+))?")


@dataclass(frozen=True, slots=True)
class HubId:
    """A repository, its revision, and a part of the name of the GGUF file that is meant."""

    repository: str
    revision: str | None = None
    gguf: str | None = None

    @classmethod
    def parse(cls, text: str) -> "HubId | None":
        """None if the text cannot be one."""
        found = _SYNTAX.fullmatch(text)
        return cls(*found.groups()) if found else None


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was fetched, all of `commit`; `gguf` names the file that is still to be converted, if any."""

    commit: str
    gguf: str | None


def fetch(hub_id: HubId, folder: Path, progress: Progress, form: WeightsForm) -> Fetched:
    """Puts the model's files into `folder`; raises `ModelError`."""
    import httpx2
    from huggingface_hub import HfApi, snapshot_download  # pyright: ignore[reportUnknownVariableType] - bare generics
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()  # we show our own
    for stale in folder.rglob("*.incomplete"):
        stale.unlink()  # the client never reads another process's halves
    try:
        found = HfApi().model_info(hub_id.repository, revision=hub_id.revision, files_metadata=True)
        sizes = {file.rfilename: file.size or 0 for file in found.siblings or ()}
        names = choose_files(hub_id, sizes, form)
        total = sum(sizes[name] for name in names)
        with (
            progress.stage(f"Fetching {hub_id.repository}", total) as report,
            watching(lambda: _bytes_below(folder), report),
        ):
            snapshot_download(
                hub_id.repository, revision=found.sha, local_dir=folder, allow_patterns=sorted(names)
            )
    except (OSError, ValueError, httpx2.HTTPError) as error:
        _refuse(hub_id, error)
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    ggufs = [name for name in names if name.endswith(".gguf")]
    return Fetched(found.sha or "", ggufs[0] if ggufs else None)


def choose_files(hub_id: HubId, names: Collection[str], form: WeightsForm) -> set[str]:
    """Which of a repository's files to fetch: weights of that form, or the one GGUF file that is meant."""
    if hub_id.gguf is None and set(form.files).issubset(names):
        return {name for name in form.files + SERVED_FILES if name in names}
    wanted = (hub_id.gguf or "").lower()
    found = sorted(name for name in names if name.endswith(".gguf") and wanted in name.lower())
    if not found:
        meant = f"GGUF file with '{hub_id.gguf}' in its name" if wanted else f"{form.name} and no GGUF file"
        raise ModelError(f"{hub_id.repository} has no {meant}, so it cannot be served.")
    if len(found) > 1:
        raise ModelError(
            f"{hub_id.repository} has several GGUF files: {', '.join(found)}. "
            f"Name a part of one, as in {hub_id.repository}:Q4_K_M."
        )
    if re.search(r"-\d{5}-of-\d{5}\.gguf$", found[0]):
        raise ModelError(f"{found[0]} of {hub_id.repository} is split; only whole GGUF files can be read.")
    return set(found)


def _bytes_below(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # renamed meanwhile
            total += path.stat().st_size if path.is_file() else 0
    return total


def _refuse(hub_id: HubId, error: Exception) -> NoReturn:
    from huggingface_hub import errors

    what = f"{hub_id.repository}" + (f" at {hub_id.revision}" if hub_id.revision else "")
    match error:
        case errors.OfflineModeIsEnabled():
            reason = "HF_HUB_OFFLINE is set and the model is not in the cache"
        case errors.GatedRepoError():
            reason = "access must be asked for on the hub; then set HF_TOKEN"
        case errors.RepositoryNotFoundError():
            reason = "there is no such model, or HF_TOKEN must be set to see it"
        case errors.RevisionNotFoundError():
            reason = "there is no such revision"
        case _:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
    raise ModelError(f"{what} could not be fetched: {reason}.") from error
