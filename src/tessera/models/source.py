"""What the service knows of a model that it serves, and the forms in which engines read weights."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

from tessera.core.generation import SamplingDefaults


class GenerationConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is read of generation_config.json; absent means that the model does not say."""

    eos_token_id: int | list[int] | None = None
    do_sample: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None

    @property
    def sampling(self) -> SamplingDefaults:
        """What the model's files ask for, and nothing of our own where they do not."""
        if self.do_sample is False:
            return SamplingDefaults(temperature=0.0)
        said = {field.name: getattr(self, field.name, None) for field in fields(SamplingDefaults)}
        if said["repetition_penalty"] == 0:  # it would divide by zero
            said["repetition_penalty"] = None
        return SamplingDefaults(**{name: value for name, value in said.items() if value is not None})


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Everything about a model but its weights: plain data, which every process of the service is given.

    `model_id` is the name that its replies carry. Its engine reads what is at `path`, if it reads anything.
    Its chat format is the known `family`, or else found by the chat template. A small model may need a limit
    for replies whose requests set none, `default_output_tokens`. `architecture` is what its files call it.
    """

    model_id: str
    created_s: int
    context_tokens: int
    eos_token_ids: tuple[int, ...] = ()
    bos_token: str = ""
    eos_token: str = ""
    chat_template: str | None = None
    generation: GenerationConfig = GenerationConfig()  # noqa: RUF009 - frozen
    path: Path | None = None
    family: str | None = None
    default_output_tokens: int | None = None
    architecture: str = ""

    @property
    def folder(self) -> Path:
        """The `path` of a model whose engine reads one."""
        assert self.path is not None
        return self.path


@dataclass(frozen=True, slots=True)
class WeightsForm:
    """The form in which an engine reads weights. `export` says how a folder of that form is made.

    `convert` puts the `files` into a folder, out of a GGUF file; it raises `ModelError`. In the cache, the
    entries of one model in several forms differ by `entry_suffix`. An engine whose form `has_tokenizer` can
    do without a tokenizer.json. `weights` is a pattern of names, of which a folder has at least one; all of
    them are fetched from a repository, together with what matches one of `beside`.
    """

    name: str
    files: tuple[str, ...]
    export: str
    convert: Callable[[Path, Path], None]
    entry_suffix: str = ""
    has_tokenizer: bool = False
    weights: str | None = None
    beside: tuple[str, ...] = ()

    def names_in(self, names: Iterable[str]) -> list[str]:
        """The weights among these names of files, and what goes with them, sorted."""
        patterns = [*([self.weights] if self.weights else []), *self.beside]
        return sorted(name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns))

    def has_weights(self, names: Collection[str]) -> bool:
        """Whether these names of files include all that a folder of this form must have of weights."""
        found = self.weights is None or any(fnmatchcase(name, self.weights) for name in names)
        return found and set(self.files).issubset(names)
