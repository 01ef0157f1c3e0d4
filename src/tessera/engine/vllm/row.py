"""The vLLM engine's row. It must not import vLLM, which is in an environment of its own."""

import dataclasses

from tessera.core.generation import Feature
from tessera.engine.row import EngineRow, Hosted
from tessera.engine.vllm.config import VllmOptions
from tessera.engine.vllm.files import SAFETENSORS
from tessera.engine.vllm.install import installed_python
from tessera.errors import StartupError
from tessera.grammars.question import GrammarLimits
from tessera.models.cache import Cache, default_root
from tessera.models.folder import TOKENIZER
from tessera.models.progress import Progress
from tessera.models.resolve import resolve
from tessera.models.source import ModelSource
from tessera.settings import Settings
from tessera.text.hf import HfTokenizer

FACTORY = "tessera.engine.vllm.core:open_core"
FEATURES: frozenset[Feature] = frozenset({"grammar", "logprobs", "n", "thinking_budget"})

LIMITS = GrammarLimits(items_in_row=2_000, lexer_fuel=200_000)
"""llguidance's own, which vLLM does not change. What exceeds them is relaxed or refused before it begins."""

# The first use of a kernel may compile it, which takes longer than any step of a processor's engine.
_STALLS_PER_HANG = 4

_INHERITS = ("CUDA_", "NCCL_", "VLLM_", "NVIDIA_")


def _prepare(settings: Settings, cache: Cache, progress: Progress) -> ModelSource:
    if settings.model is None:
        raise StartupError(
            "The engine vllm needs --model: a folder or a hub id with safetensors, such as "
            "Qwen/Qwen3.6-35B-A3B-FP8."
        )
    if settings.engine_python is None and installed_python() is None:
        raise StartupError(
            "The engine vllm has an environment of its own, and there is none. Make it with: "
            "tessera engines install vllm."
        )
    return resolve(settings.model, cache, progress, SAFETENSORS, offline=settings.offline)


def _tokenizer(settings: Settings, source: ModelSource) -> HfTokenizer:
    return HfTokenizer.from_file(source.folder / TOKENIZER)


def _options(settings: Settings, source: ModelSource) -> dict[str, object]:
    options = VllmOptions(
        folder=str(source.folder),
        home=str((settings.cache_dir or default_root()) / "vllm"),
        kv_cache_bytes=settings.kv_cache_bytes,
        precision=settings.precision,
        threads=settings.threads,
        exact=settings.exact,
        speculative=settings.speculative,
        arguments=dict(settings.engine_options or {}),
        stall_s=_STALLS_PER_HANG * settings.engine_hang_s,
    )
    return dataclasses.asdict(options)


VLLM = EngineRow(
    _prepare,
    _tokenizer,
    Hosted(FACTORY, FEATURES, _options, python=installed_python, inherits=_INHERITS, grammar_limits=LIMITS),
)
