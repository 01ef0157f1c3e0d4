"""The CPU engine's row. It must not import OpenVINO, which only the engine's own process needs."""

import dataclasses

from tessera.core.generation import Feature
from tessera.engine.openvino.config import OpenVinoOptions
from tessera.engine.openvino.convert import IR
from tessera.engine.row import EngineRow, Hosted
from tessera.models.cache import Cache
from tessera.models.folder import TOKENIZER
from tessera.models.machine import memory_bytes
from tessera.models.memory import Budget
from tessera.models.progress import Progress
from tessera.models.resolve import resolve
from tessera.models.source import ModelSource
from tessera.settings import Settings
from tessera.text.hf import HfTokenizer

FACTORY = "tessera.engine.openvino.core:open_core"
FEATURES: frozenset[Feature] = frozenset({"grammar", "logprobs", "n", "thinking_budget"})


def _prepare(settings: Settings, cache: Cache, progress: Progress) -> ModelSource:
    def budget() -> Budget:
        return Budget(memory_bytes(), settings.kv_cache_bytes)

    return resolve(settings.model, cache, progress, IR, offline=settings.offline, budget=budget)


def _tokenizer(settings: Settings, source: ModelSource) -> HfTokenizer:
    return HfTokenizer.from_file(source.folder / TOKENIZER)


def _options(settings: Settings, source: ModelSource) -> dict[str, object]:
    options = OpenVinoOptions(
        model_xml=str(source.folder / IR.files[0]),
        tokenizer_json=str(source.folder / TOKENIZER),
        kv_cache_bytes=settings.kv_cache_bytes,
        grammar_bytes=settings.grammar_bytes,
        step_tokens=settings.step_tokens,
        step_gap_s=settings.step_gap_s,
        precision=settings.precision,
        threads=settings.threads,
    )
    return dataclasses.asdict(options)


OPENVINO = EngineRow(_prepare, _tokenizer, Hosted(FACTORY, FEATURES, _options))
