"""Settings become a model that can be asked."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from tessera.catalog import Catalog, Model
from tessera.core.chat import Mode
from tessera.engine.base import Engine
from tessera.engine.host.client import OpenVinoEngine
from tessera.engine.host.private import PrivateEngine
from tessera.engine.openvino.config import WorkerConfig
from tessera.engine.scripted.engine import ScriptedEngine, ScriptedTokenizer, cycling, paced, thinking_first
from tessera.engine.scripted.grammar_replies import GrammarReplies
from tessera.errors import StartupError
from tessera.formats.base import ChatFormat, SamplingDefaults
from tessera.formats.conversation import TemplateSource
from tessera.formats.hermes import HERMES
from tessera.formats.remote import RemoteTemplate, find_format
from tessera.grammars.checker import GrammarCheck
from tessera.models.cache import Cache, default_root
from tessera.models.folder import GenerationConfig, ModelFolder
from tessera.models.progress import Progress
from tessera.models.resolve import resolve
from tessera.settings import Settings
from tessera.text.hf import HfTokenizer
from tessera.text.tokenizer import Tokenizer


def open_cache(settings: Settings) -> Cache:
    """The cache that the settings name."""
    return Cache(settings.cache_dir or default_root())


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A model but for its engine. `config` is what the engine's process is told; without one, a script is
    played. A `template` renders instead of the format.
    """

    settings: Settings
    tokenizer: Tokenizer
    format: ChatFormat
    template: TemplateSource | None
    sampling: Mapping[Mode, SamplingDefaults]
    created_s: int
    config: WorkerConfig | None

    def model(self, engine_path: str | None) -> Model:
        """The model with the engine at that socket, which need not be there yet."""
        if self.config is None or engine_path is None:
            return self.model_of(_scripted(self.settings, self.tokenizer, self.format))
        return self.model_of(OpenVinoEngine(engine_path, self.config.served()))

    def model_of(self, engine: Engine) -> Model:
        """The model with this engine."""
        return Model(
            engine.info.model_id,
            engine,
            self.tokenizer,
            self.format,
            self.sampling,
            self.created_s,
            grammars=GrammarCheck(
                self.tokenizer.control_tokens, self.tokenizer.vocabulary_size, self.format.syntax
            ),
            renderer=RemoteTemplate(self.template) if self.template else None,
        )


def find_folder(settings: Settings, progress: Progress) -> ModelFolder | None:
    """The folder of the model that is to be served, fetched and converted if it is missing; None where a
    script is played. Raises `StartupError`.
    """
    if settings.engine == "scripted":
        return None
    return resolve(settings.model, open_cache(settings), progress, offline=settings.offline)


def read_blueprint(settings: Settings, folder: ModelFolder | None) -> Blueprint:
    """What the folder says; raises `StartupError`."""
    if folder is None:
        return Blueprint(settings, ScriptedTokenizer(), HERMES, None, HERMES.sampling, int(time.time()), None)
    tokenizer = HfTokenizer.from_file(folder.tokenizer_json)
    chat_format, template = find_format(
        folder.chat_template,
        control_tokens=tokenizer.control_tokens.keys(),
        eos=folder.eos_token,
        bos=folder.bos_token,
        defaults=_sampling_defaults(folder.generation),
    )
    config = worker_config(folder, settings, tokenizer, chat_format)
    sampling = chat_format.sampling
    return Blueprint(settings, tokenizer, chat_format, template, sampling, folder.created_s, config)


def private_model(settings: Settings, progress: Progress) -> Model:
    """The model with an engine of its own, not yet started; raises `StartupError`."""
    blueprint = read_blueprint(settings, find_folder(settings, progress))
    if blueprint.config is None:
        return blueprint.model(None)
    return blueprint.model_of(PrivateEngine(blueprint.config))


def catalog(model: Model, settings: Settings) -> Catalog:
    """The one model, and the other names it answers to."""
    return Catalog([model], {alias: model.id for alias in settings.aliases if alias != model.id}, model.id)


def worker_config(
    folder: ModelFolder, settings: Settings, tokenizer: Tokenizer, chat_format: ChatFormat
) -> WorkerConfig:
    """What the engine's process is told; raises `StartupError` for a context the model does not have."""
    context_tokens = settings.context_tokens or folder.context_tokens
    if context_tokens > folder.context_tokens:
        raise StartupError(
            f"context_tokens is {context_tokens}, and {folder.model_id} has a context of "
            f"{folder.context_tokens} tokens."
        )
    # Where a grammar is complete, every token that ends a turn is allowed: the model's own and the format's.
    control = tokenizer.control_tokens
    ends = {control[token] for token in (folder.eos_token, *chat_format.syntax.ends) if token in control}
    return WorkerConfig(
        model_xml=str(folder.model_xml),
        model_id=settings.model_name or folder.model_id,
        context_tokens=context_tokens,
        vocabulary_size=tokenizer.vocabulary_size,
        eos_token_ids=tuple(sorted({*folder.eos_token_ids, *ends})),
        kv_cache_bytes=settings.kv_cache_bytes,
        grammar_bytes=settings.grammar_bytes,
        max_sequences=settings.max_sequences,
        step_tokens=settings.step_tokens,
        step_gap_s=settings.step_gap_s,
        precision=settings.precision,
        threads=settings.threads,
        tokenizer_json=str(folder.tokenizer_json),
        log_level=settings.log_level,
        log_format=settings.log_format,
    )


def _scripted(settings: Settings, tokenizer: Tokenizer, chat_format: ChatFormat) -> ScriptedEngine:
    script, tags = cycling(tokenizer), chat_format.syntax.reasoning
    return ScriptedEngine(
        tokenizer,
        thinking_first(tokenizer, script, tags) if tags else script,
        timing=paced(settings.scripted_tokens_per_s),
        model_id=settings.model_name or "tessera/scripted",
        context_tokens=settings.context_tokens or 32_768,
        replies=GrammarReplies(tokenizer),
    )


def _sampling_defaults(wanted: GenerationConfig) -> SamplingDefaults:
    """What the model's files ask for, and nothing of our own where they do not."""
    if wanted.do_sample is False:
        return SamplingDefaults(temperature=0.0)
    none = SamplingDefaults()
    return SamplingDefaults(
        temperature=none.temperature if wanted.temperature is None else wanted.temperature,
        top_p=none.top_p if wanted.top_p is None else wanted.top_p,
        top_k=none.top_k if wanted.top_k is None else wanted.top_k,
        min_p=none.min_p if wanted.min_p is None else wanted.min_p,
        repetition_penalty=wanted.repetition_penalty or none.repetition_penalty,
    )
