"""The models of a server: how settings become a catalog."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from tessera.catalog import Catalog, Model
from tessera.core.generation import EngineInfo
from tessera.engine.base import Engine
from tessera.engine.host.client import HostedEngine
from tessera.engine.host.frames import Start
from tessera.engine.host.private import PrivateEngine
from tessera.engine.host.process import EngineProcess, worker_command
from tessera.engine.registry import engine_row, with_engine
from tessera.engine.row import EngineRow, Hosted, InProcess
from tessera.errors import StartupError
from tessera.formats.base import ChatFormat
from tessera.formats.conversation import TemplateSource
from tessera.formats.registry import FORMATS
from tessera.formats.remote import RemoteTemplate, find_format
from tessera.grammars.checker import GrammarCheck
from tessera.grammars.question import GrammarLimits
from tessera.models.cache import Cache, default_root
from tessera.models.progress import Progress
from tessera.models.source import ModelSource
from tessera.processes import children
from tessera.settings import Settings, model_settings
from tessera.text.tokenizer import Tokenizer

_ALIAS = "Qwen/Qwen3.6-35B-A3B"
_FAMILY = frozenset({"qwen35", "qwen35moe", "qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text"})
"""The architectures of Qwen3.5 and Qwen3.6, as GGUF files and config.json name them."""


def open_cache(settings: Settings) -> Cache:
    """The cache that the settings name."""
    return Cache(settings.cache_dir or default_root())


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """What every process needs to serve a model: plain data. `settings` are those of this model.

    The process of its engine listens at `address`; None for an engine without one.
    """

    settings: Settings
    source: ModelSource
    address: str | None = None


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A model but for its engine. A `template` renders in place of the format."""

    settings: Settings
    source: ModelSource
    row: EngineRow
    tokenizer: Tokenizer
    format: ChatFormat
    template: TemplateSource | None

    def process(self, *, gives_up: bool = True) -> EngineProcess | None:
        """The process of the model's engine, not yet started; None for an engine without one."""
        runs = self.row.runs
        match runs:
            case Hosted() as hosted:
                settings = self.settings
                start = Start(
                    hosted.factory,
                    self._served(hosted),
                    hosted.options(settings, self.source),
                    settings.log_level,
                    settings.log_format,
                )
                python = settings.engine_python or hosted.python()
                return EngineProcess(
                    start,
                    environment=children.beginning(*hosted.inherits) | {**hosted.environment},
                    hang_s=settings.engine_hang_s,
                    gives_up=gives_up,
                    command=worker_command(python and str(python)),
                )
            case InProcess():
                return None
            case _:
                assert_never(runs)

    def model(self, address: str | None) -> Model:
        """The model, with the engine whose process listens there, or will."""
        runs = self.row.runs
        match runs:
            case Hosted() as hosted:
                assert address is not None
                return self.model_of(HostedEngine(address, self._served(hosted)))
            case InProcess() as local:
                engine = local.build(self.settings, self.source, self.tokenizer, self.format.syntax)
                return self.model_of(engine)
            case _:
                assert_never(runs)

    def model_of(self, engine: Engine) -> Model:
        """The model with this engine."""
        runs = self.row.runs
        return Model(
            engine.info.model_id,
            engine,
            self.tokenizer,
            self.format,
            self.format.sampling,
            self.source.created_s,
            grammars=GrammarCheck(
                self.tokenizer.control_tokens,
                self.tokenizer.vocabulary_size,
                self.format.syntax,
                limits=runs.grammar_limits if isinstance(runs, Hosted) else GrammarLimits(),
            ),
            renderer=RemoteTemplate(self.template) if self.template else None,
            default_output_tokens=self.settings.default_output_tokens or self.source.default_output_tokens,
            # A script may repeat itself as it likes.
            loop_tokens=self.settings.loop_tokens if isinstance(self.row.runs, Hosted) else 0,
        )

    def _served(self, hosted: Hosted) -> EngineInfo:
        """What the engine is to serve; raises `StartupError` for a context that the model does not have."""
        settings, source = self.settings, self.source
        context_tokens = settings.context_tokens or source.context_tokens
        if context_tokens > source.context_tokens:
            raise StartupError(
                f"context_tokens is {context_tokens}, and {source.model_id} has a context of "
                f"{source.context_tokens} tokens."
            )
        # Where a grammar is complete, every token that ends a turn is allowed, the model's and the format's.
        control = self.tokenizer.control_tokens
        ends = {control[token] for token in (source.eos_token, *self.format.syntax.ends) if token in control}
        return EngineInfo(
            model_id=settings.model_name or source.model_id,
            context_tokens=context_tokens,
            vocabulary_size=self.tokenizer.vocabulary_size,
            eos_token_ids=frozenset({*source.eos_token_ids, *ends}),
            features=hosted.features,
            max_sequences=settings.max_sequences,
        )


def prepare_models(settings: Settings, progress: Progress) -> tuple[ModelPlan, ...]:
    """The models of the settings, fetched and converted if they are missing.

    Raises `StartupError` for an unknown engine and `ModelError`.
    """
    return tuple(_prepare(each, progress) for each in model_settings(settings))


def read_blueprint(plan: ModelPlan) -> Blueprint:
    """Reads the model's tokenizer and finds its format; raises `StartupError`."""
    settings, source = plan.settings, plan.source
    row = engine_row(settings)
    tokenizer = row.tokenizer(settings, source)
    if source.family is not None:
        return Blueprint(settings, source, row, tokenizer, FORMATS[source.family], None)
    chat_format, template = find_format(
        source.chat_template,
        control_tokens=tokenizer.control_tokens.keys(),
        eos=source.eos_token,
        bos=source.bos_token,
        defaults=source.generation.sampling,
    )
    return Blueprint(settings, source, row, tokenizer, chat_format, template)


def open_catalog(plans: Sequence[ModelPlan]) -> Catalog:
    """The models, connected to the engines at their addresses; raises `StartupError`."""
    return catalog_of([(plan.settings, read_blueprint(plan).model(plan.address)) for plan in plans])


def catalog_of(models: Sequence[tuple[Settings, Model]]) -> Catalog:
    """The models, each with the other names that it answers to; the first answers requests that name none.

    Raises `StartupError` if two models have a name in common.
    """
    owners: dict[str, Model] = {}
    aliases: dict[str, str] = {}
    for settings, model in models:
        for name in dict.fromkeys((model.id, *(settings.aliases or ()))):
            if name in owners:
                raise StartupError(f"Two models have the name {name}: give one another name.")
            owners[name] = model
            if name != model.id:
                aliases[name] = model.id
    return Catalog([model for _, model in models], aliases, models[0][1].id)


def private_model(settings: Settings, progress: Progress) -> Model:
    """The first model of the settings, with an engine of its own, not yet started.

    Raises `StartupError` and `ModelError`.
    """
    return _private(_prepare(model_settings(settings)[0], progress))


def private_catalog(settings: Settings, progress: Progress) -> Catalog:
    """All models of the settings, with engines of their own, not yet started.

    Raises `StartupError` and `ModelError`.
    """
    return catalog_of([(plan.settings, _private(plan)) for plan in prepare_models(settings, progress)])


def _private(plan: ModelPlan) -> Model:
    blueprint = read_blueprint(plan)
    process = blueprint.process()
    return blueprint.model_of(PrivateEngine(process)) if process else blueprint.model(None)


def _prepare(settings: Settings, progress: Progress) -> ModelPlan:
    cache = open_cache(settings)
    settings = with_engine(settings, cache, progress)
    source = engine_row(settings).prepare(settings, cache, progress)
    if settings.aliases is None:
        settings = replace(settings, aliases=default_aliases(settings, source))
    return ModelPlan(settings, source)


def default_aliases(settings: Settings, source: ModelSource) -> tuple[str, ...]:
    """Where no model was named, clients may ask for the one that this service was made for; of other models,
    only those of its family may pass for it.
    """
    return (_ALIAS,) if settings.model is None or source.architecture in _FAMILY else ()
