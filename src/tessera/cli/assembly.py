"""Settings become a model that can be asked."""

import time

from tessera.engine.base import Engine
from tessera.engine.loading import resolve
from tessera.engine.openvino.config import WorkerConfig
from tessera.engine.openvino.private import PrivateEngine
from tessera.engine.scripted import ScriptedEngine, ScriptedTokenizer, paced
from tessera.errors import StartupError
from tessera.formats.base import ChatFormat, SamplingDefaults
from tessera.formats.hermes import HERMES
from tessera.formats.registry import choose_format
from tessera.models import Catalog, Model
from tessera.settings import Settings
from tessera.text.grammar_check import GrammarCheck
from tessera.text.hf import HfTokenizer
from tessera.text.tokenizer import Tokenizer
from tessera.weights.cache import Cache, default_root
from tessera.weights.folder import GenerationConfig, ModelFolder
from tessera.weights.progress import Progress


def open_cache(settings: Settings) -> Cache:
    """The cache that the settings name."""
    return Cache(settings.cache_dir or default_root())


def load_model(settings: Settings, progress: Progress) -> Model:
    """The model that is to be served, its engine not yet started; fetches and converts what is missing.

    Raises `StartupError`.
    """
    if settings.engine == "scripted":
        return _scripted(settings)
    folder = resolve(settings.model, open_cache(settings), progress, offline=settings.offline)
    tokenizer = HfTokenizer.from_file(folder.tokenizer_json)
    chat_format = choose_format(
        folder.chat_template,
        control_tokens=tokenizer.control_tokens.keys(),
        eos=folder.eos_token,
        bos=folder.bos_token,
        defaults=_sampling_defaults(folder.generation),
    )
    config = worker_config(folder, settings, tokenizer, chat_format)
    engine: Engine = PrivateEngine(config, hang_s=settings.engine_hang_s)
    model_id = engine.info.model_id
    return Model(
        model_id,
        engine,
        tokenizer,
        chat_format,
        chat_format.sampling,
        folder.created_s,
        grammars=GrammarCheck(tokenizer.control_tokens, tokenizer.vocabulary_size),
    )


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
        max_sequences=settings.max_sequences,
        step_tokens=settings.step_tokens,
        precision=settings.precision,
        threads=settings.threads,
        tokenizer_json=str(folder.tokenizer_json),
        log_level=settings.log_level,
        log_format=settings.log_format,
    )


def _scripted(settings: Settings) -> Model:
    tokenizer = ScriptedTokenizer()
    engine = ScriptedEngine(
        tokenizer,
        timing=paced(settings.scripted_tokens_per_s),
        model_id=settings.model_name or "tessera/scripted",
        context_tokens=settings.context_tokens or 32_768,
    )
    return Model(engine.info.model_id, engine, tokenizer, HERMES, HERMES.sampling, int(time.time()))


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
