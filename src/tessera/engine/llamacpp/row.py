"""The llama.cpp engine's row. It must not load the library, which only the engine's own process needs."""

import dataclasses
from pathlib import Path

from tessera.core.generation import Feature
from tessera.engine.llamacpp.config import LlamaOptions
from tessera.engine.llamacpp.files import GGUF, gguf_paths
from tessera.engine.llamacpp.install import describe_library, installed_library
from tessera.engine.row import EngineRow, Hosted
from tessera.errors import StartupError
from tessera.models.cache import Cache
from tessera.models.folder import TOKENIZER
from tessera.models.machine import memory_bytes
from tessera.models.memory import Budget
from tessera.models.progress import Progress
from tessera.models.resolve import resolve
from tessera.models.source import ModelSource
from tessera.settings import Settings
from tessera.text.hf import HfTokenizer
from tessera.text.tokenizer import Tokenizer

FACTORY = "tessera.engine.llamacpp.core:open_core"
FEATURES: frozenset[Feature] = frozenset({"grammar", "logprobs", "n", "thinking_budget"})

# A failed assertion ends the process; without the first, ggml would run a debugger on it before that. Threads
# that wait for each other within a pass give way soon: where others compute, too, waiting busily makes passes
# five times as long (measured).
ENVIRONMENT = {"GGML_NO_BACKTRACE": "1", "GOMP_SPINCOUNT": "10000"}


def _prepare(settings: Settings, cache: Cache, progress: Progress) -> ModelSource:
    def budget() -> Budget:
        gpu_bytes = _gpu_bytes(settings)
        return Budget(memory_bytes(), settings.kv_cache_bytes, settings.state_bytes, gpu_bytes)

    return resolve(settings.model, cache, progress, GGUF, offline=settings.offline, budget=budget)


def _gpu_bytes(settings: Settings) -> int:
    """The memory of the GPUs that layers may go to, as the library reports it."""
    if settings.gpu_layers == 0:
        return 0
    try:
        return sum(gpu.total_bytes for gpu in describe_library(_library(settings)).gpus)
    except StartupError:  # reported when the engine starts
        return 0


def _tokenizer(settings: Settings, source: ModelSource) -> Tokenizer:
    path = source.folder / TOKENIZER
    if path.is_file():
        return HfTokenizer.from_file(path)
    from tessera.engine.llamacpp.vocabulary import open_tokenizer  # loads the library into this process

    return open_tokenizer(_library(settings), gguf_paths(source.folder))


def _library(settings: Settings) -> Path | None:
    return settings.llama_library or installed_library()


def _options(settings: Settings, source: ModelSource) -> dict[str, object]:
    library, tokenizer = _library(settings), source.folder / TOKENIZER
    options = LlamaOptions(
        ggufs=[str(path) for path in gguf_paths(source.folder)],
        tokenizer_json=str(tokenizer) if tokenizer.is_file() else None,
        library=library and str(library),
        kv_cache_bytes=settings.kv_cache_bytes,
        state_bytes=settings.state_bytes,
        grammar_bytes=settings.grammar_bytes,
        step_tokens=settings.step_tokens,
        step_gap_s=settings.step_gap_s,
        threads=settings.threads,
        gpu_layers=settings.gpu_layers,
        cpu_experts=settings.cpu_experts,
        kv_type=settings.kv_type,
        exact=settings.exact,
    )
    return dataclasses.asdict(options)


LLAMACPP = EngineRow(_prepare, _tokenizer, Hosted(FACTORY, FEATURES, _options, ENVIRONMENT))
