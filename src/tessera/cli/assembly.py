"""Settings become a model that can be asked."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

from tessera.access.capacity import Capacity, reserve
from tessera.access.limits import Limiter, MemoryLimiter
from tessera.access.tiers import Tiers, configured
from tessera.core.chat import Mode
from tessera.engine.base import Engine
from tessera.engine.grammar_replies import GrammarReplies
from tessera.engine.loading import resolve
from tessera.engine.openvino.client import OpenVinoEngine
from tessera.engine.openvino.config import WorkerConfig
from tessera.engine.openvino.private import PrivateEngine
from tessera.engine.scripted import ScriptedEngine, ScriptedTokenizer, cycling, paced, thinking_first
from tessera.errors import StartupError
from tessera.formats.base import ChatFormat, SamplingDefaults
from tessera.formats.conversation import TemplateSource
from tessera.formats.hermes import HERMES
from tessera.formats.remote import RemoteTemplate, find_format
from tessera.http.limits import HttpLimits
from tessera.metering.trace import Traces, Untraced
from tessera.metrics import Metrics
from tessera.models import Catalog, Model
from tessera.prompt.grammar_check import GrammarCheck
from tessera.settings import Settings
from tessera.text.hf import HfTokenizer
from tessera.text.tokenizer import Tokenizer
from tessera.weights.cache import Cache, default_root
from tessera.weights.folder import GenerationConfig, ModelFolder
from tessera.weights.progress import Progress


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


def limits(settings: Settings) -> HttpLimits:
    """What a connection may cost; raises `StartupError` if a body of the largest size would never fit."""
    most = settings.max_body_bytes
    account_bytes = settings.account_body_bytes or 2 * most
    priority_bytes = settings.priority_body_bytes or 4 * most
    for name, n_bytes in (("account_body_bytes", account_bytes), ("priority_body_bytes", priority_bytes)):
        if n_bytes < most:
            raise StartupError(f"{name} is {n_bytes}, less than max_body_bytes, which is {most}.")
    return HttpLimits(
        max_body_bytes=most,
        account_body_bytes=account_bytes,
        priority_body_bytes=priority_bytes,
        body_deadline_s=settings.body_deadline_s,
        keep_alive_s=settings.keep_alive_s,
        send_deadline_s=settings.send_deadline_s,
        deadline_s=settings.deadline_s,
    )


def capacity(settings: Settings, model: Model) -> Capacity:
    """Of one API process. A few more than the engine computes at once: as one ends, the next is there."""
    at_once = settings.max_running or math.ceil(1.25 * model.engine.info.max_sequences)
    n_places, named = math.ceil(at_once / settings.workers), tiers(settings)
    priorities = {named[name].priority for name in named.names()}
    return Capacity(
        max_running=n_places,
        reserved=reserve(n_places, settings.reserved_share, priorities),
        max_queued=math.ceil(settings.max_queued / settings.workers),
        queue_deadline_s=settings.queue_deadline_s,
    )


def tiers(settings: Settings) -> Tiers:
    """The defaults and what the settings say; raises `StartupError`."""
    return configured(settings.tiers or {})


def limiter(settings: Settings, metrics: Metrics) -> Limiter:
    """Of one API process: together in Redis, or its share of each account's limits."""
    if settings.redis_url is None:
        return MemoryLimiter(settings.workers)
    try:
        from tessera.access.redis_limits import RedisLimiter
    except ModuleNotFoundError as error:
        raise StartupError(
            "TESSERA_REDIS_URL needs a library: pip install 'tessera-serve[redis]'."
        ) from error
    try:
        return RedisLimiter(settings.redis_url, settings.workers, metrics)
    except ValueError as error:
        raise StartupError(
            "TESSERA_REDIS_URL, or an option in it, cannot be read. Give redis://host:6379/0, "
            "or rediss://host:6379/0 for TLS."
        ) from error


def traces(settings: Settings, metrics: Metrics) -> Traces:
    """Of one API process; raises `StartupError` if the library for them is not there, or what its variables
    say cannot be.
    """
    if settings.otlp_endpoint is None:
        return Untraced()
    try:
        from tessera.metering.otlp import OtlpTraces
    except ModuleNotFoundError as error:
        raise StartupError(
            "TESSERA_OTLP_ENDPOINT needs a library: pip install 'tessera-serve[otel]'."
        ) from error
    try:
        return OtlpTraces(settings.otlp_endpoint, metrics)
    except ValueError as error:
        raise StartupError(f"The variables OTEL_… make no sense: {error}") from error


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
