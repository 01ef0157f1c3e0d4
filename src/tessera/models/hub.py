"""Models from a Hugging Face hub: `ORGANISATION/NAME[@REVISION][:GGUF]`.

Only the files that serving needs are fetched, all of one commit. GGUF files are checked against the memory
of the machine before they are fetched, and against their SHA-256 afterwards. A broken connection is resumed
where it broke; after a killed process, GGUF files too, and whole files are not fetched again. The endpoint,
the token and the offline mode are set by `huggingface_hub`'s own variables.
"""

import re
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from tessera.errors import ModelError
from tessera.models.folder import SERVED_FILES
from tessera.models.gguf import models_among
from tessera.models.header import GgufHeader
from tessera.models.paths import is_path, where_it_ends
from tessera.models.progress import Progress, Report, watching
from tessera.models.ranges import RemoteFileInfo, fetch_file, remote_header
from tessera.models.source import WeightsForm

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

_SYNTAX = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?(?::([\w.-]+))?")


@dataclass(frozen=True, slots=True)
class HubId:
    """A repository, its revision, and a part of the name of the GGUF file that is meant."""

    repository: str
    revision: str | None = None
    gguf: str | None = None

    @classmethod
    def parse(cls, text: str) -> "HubId | None":
        """None if the text cannot be one, or is rather a path. A repository whose name ends in .gguf needs a
        revision, as in `organisation/name.gguf@main`.
        """
        found = None if is_path(text) else _SYNTAX.fullmatch(text)
        return cls(*found.groups()) if found else None


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was fetched, all of `commit`; `gguf` names the file that is still to be converted, if any, or its
    first part. `hashes` has the SHA-256 of files that were checked.
    """

    commit: str
    gguf: str | None
    hashes: Mapping[str, str]


_ANY_GGUF = WeightsForm("GGUF", ("…",), "", lambda path, folder: None)
"""A form in which no folder is."""

Check: TypeAlias = Callable[[str, Sequence[GgufHeader], Mapping[str, int]], None]
"""Gets the name of a GGUF model, the headers of its parts, and the bytes of all models beside it. Raises
`ModelError` if it is not to be fetched.
"""


def remote_headers(hub_id: HubId, progress: Progress) -> list[GgufHeader]:
    """The headers of a GGUF model's parts, of which nothing else is fetched; none if no part of a GGUF file's
    name is given and the repository has OpenVINO IR. Raises `ModelError`.
    """
    import httpx2
    from huggingface_hub import HfApi

    try:
        found = HfApi().model_info(hub_id.repository, revision=hub_id.revision, files_metadata=True)
        files = _files(found)
        if hub_id.gguf is None and "openvino_model.xml" in files:
            return []
        names = choose_files(hub_id, files, _ANY_GGUF)
        with progress.stage(f"Reading the header of {names[0]}"):
            return [remote_header(_url(hub_id, found, name), name) for name in names]
    except (OSError, ValueError, httpx2.HTTPError) as error:
        _refuse(hub_id, error)


def fetch(hub_id: HubId, folder: Path, progress: Progress, form: WeightsForm, check: Check) -> Fetched:
    """Puts the model's files into `folder`, unless `check` refuses it; raises `ModelError`."""
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()  # we show our own
    for stale in folder.rglob("*.incomplete"):
        stale.unlink()  # the client never reads another process's halves
    try:
        found = HfApi().model_info(hub_id.repository, revision=hub_id.revision, files_metadata=True)
        files = _files(found)
        names = choose_files(hub_id, files, form)
        parts = [name for name in names if name.endswith(".gguf")]
        if parts:
            with progress.stage(f"Reading the header of {parts[0]}"):
                urls = [_url(hub_id, found, name) for name in parts]
                headers = [remote_header(url, name) for url, name in zip(urls, parts, strict=True)]
            check(f"{hub_id.repository}:{parts[0]}", headers, _quantisations(files))
        _download(hub_id, found, {name: files[name] for name in names}, folder, progress)
    except (OSError, ValueError, httpx2.HTTPError) as error:
        _refuse(hub_id, error)
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    hashes = {Path(name).name: digest for name in parts if (digest := files[name].sha256)}
    return Fetched(found.sha or "", Path(parts[0]).name if parts else None, hashes)


def _download(
    hub_id: HubId, found: "ModelInfo", files: Mapping[str, RemoteFileInfo], folder: Path, progress: Progress
) -> None:
    """GGUF files by ranges, one after the other; all others with the hub's own client."""
    from huggingface_hub import snapshot_download  # pyright: ignore[reportUnknownVariableType] - bare generics

    others = sorted(name for name in files if not name.endswith(".gguf"))
    total = sum(file.size for file in files.values())
    with progress.stage(f"Fetching {hub_id.repository}", total) as report:
        if others:
            with watching(lambda: _bytes_below(folder), report):
                snapshot_download(
                    hub_id.repository, revision=found.sha, local_dir=folder, allow_patterns=others
                )
        done = sum(files[name].size for name in others)
        for name in sorted(files.keys() - others):
            target = folder / Path(name).name
            fetch_file(_url(hub_id, found, name), target, files[name], partial(_report_sum, report, done))
            done += files[name].size


def _report_sum(report: Report, done: int, more: int) -> None:
    report(done + more)


def choose_files(hub_id: HubId, names: Collection[str], form: WeightsForm) -> list[str]:
    """Which of a repository's files to fetch: weights of that form, or the one GGUF file that is meant, with
    all its parts in order if it is split.
    """
    top = [name for name in names if "/" not in name]
    if hub_id.gguf is None and form.has_weights(top):
        chosen = dict.fromkeys((*form.files, *SERVED_FILES, *form.names_in(top)))
        return [name for name in chosen if name in names]
    wanted = (hub_id.gguf or "").lower()
    models = models_among(names)
    found = {first: parts for first, parts in models.items() if wanted in first.lower()}
    if wanted and len(found) > 1:
        found = _closest(found, wanted)
    if not found:
        meant = f"GGUF file with '{hub_id.gguf}' in its name" if wanted else f"{form.name} and no GGUF file"
        raise ModelError(f"{hub_id.repository} has no {meant}, so it cannot be served.")
    if len(found) > 1:
        raise ModelError(
            f"{hub_id.repository} has several GGUF files: {', '.join(found)}. "
            f"Name a part of one, as in {hub_id.repository}:Q4_K_M."
        )
    [(first, parts)] = found.items()
    if missing := [name for name in parts if name not in names]:
        raise ModelError(f"{hub_id.repository} lacks {missing[0]}, a part of {first}.")
    return parts


def _closest(found: Mapping[str, list[str]], wanted: str) -> Mapping[str, list[str]]:
    """Those whose names end with `wanted`: Q4_K means neither Q4_K_M nor, if there are both, UD-Q4_K."""
    for exact in (rf"(.*[-./_])?(?<!ud-){re.escape(wanted)}", rf"(.*[-./_])?{re.escape(wanted)}"):
        pattern = re.compile(rf"{exact}(-\d{{5}}-of-\d{{5}})?\.gguf")
        only = {first: parts for first, parts in found.items() if pattern.fullmatch(first.lower())}
        if len(only) == 1:
            return only
    return found


def _quantisations(files: Mapping[str, RemoteFileInfo]) -> dict[str, int]:
    """The bytes of every GGUF model of a repository, by its first part."""
    whole = {first: parts for first, parts in models_among(files).items() if set(parts) <= files.keys()}
    return {first: sum(files[part].size for part in parts) for first, parts in whole.items()}


def _url(hub_id: HubId, found: "ModelInfo", name: str) -> str:
    from huggingface_hub import hf_hub_url

    return hf_hub_url(hub_id.repository, name, revision=found.sha)


def _files(found: "ModelInfo") -> dict[str, RemoteFileInfo]:
    return {
        file.rfilename: RemoteFileInfo(file.size or 0, file.lfs.sha256 if file.lfs else None)
        for file in found.siblings or ()
    }


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
    raise ModelError(
        f"{what} could not be fetched: {reason}. If a path is meant, {where_it_ends(hub_id.repository)}"
    ) from error
