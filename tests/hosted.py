"""Engines in processes of their own, for tests."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.tiny_architectures import Architecture, write_architecture
from tests.tiny_model import byte_words

from tessera.core.generation import EngineInfo
from tessera.engine.batch.core import BatchCore
from tessera.engine.host.frames import Start
from tessera.engine.host.private import PrivateEngine
from tessera.engine.host.process import EngineProcess, worker_command
from tessera.engine.llamacpp import row as llamacpp
from tessera.engine.llamacpp.config import LlamaOptions
from tessera.engine.llamacpp.core import open_core as open_llama_core
from tessera.engine.llamacpp.files import GGUF, gguf_paths
from tessera.engine.openvino.config import OpenVinoOptions
from tessera.engine.openvino.core import open_core
from tessera.engine.openvino.row import FACTORY, FEATURES
from tessera.engine.vllm import row as vllm
from tessera.models.cache import Cache, default_root
from tessera.models.progress import Quiet
from tessera.models.resolve import resolve
from tessera.models.source import ModelSource
from tessera.text.hf import HfTokenizer

ROOT = Path(__file__).parents[1]
VLLM_PYTHON = "VLLM_PYTHON"
SERVED = {field.name for field in dataclasses.fields(EngineInfo)}


def openvino_start(source: ModelSource, vocabulary_size: int, **fields: Any) -> Start:
    """The CPU engine on a model, with small budgets; `fields` as `changed` takes them."""
    options = OpenVinoOptions(
        model_xml=str(source.folder / "openvino_model.xml"),
        tokenizer_json=str(source.folder / "tokenizer.json"),
        kv_cache_bytes=2**28,
        step_tokens=64,
    )
    served = EngineInfo(
        model_id=source.model_id,
        context_tokens=source.context_tokens,
        vocabulary_size=vocabulary_size,
        eos_token_ids=frozenset(source.eos_token_ids),
        features=FEATURES,
        max_sequences=8,
    )
    return changed(Start(FACTORY, served, dataclasses.asdict(options)), **fields)


def llama_start(source: ModelSource, vocabulary_size: int, **fields: Any) -> Start:
    """The llama.cpp engine on a model, in one thread, with small budgets."""
    options = LlamaOptions(
        ggufs=[str(path) for path in gguf_paths(source.folder)],
        tokenizer_json=str(source.folder / "tokenizer.json"),
        kv_cache_bytes=2**27,
        step_tokens=64,
        threads=1,
    )
    served = EngineInfo(
        model_id=source.model_id,
        context_tokens=source.context_tokens,
        vocabulary_size=vocabulary_size,
        eos_token_ids=frozenset(source.eos_token_ids),
        features=llamacpp.FEATURES,
        max_sequences=8,
    )
    return changed(Start(llamacpp.FACTORY, served, dataclasses.asdict(options)), **fields)


def tiny_llama_start(root: Path, architecture: Architecture) -> Start:
    """The llama.cpp engine on random weights of that architecture, whose file is made in the folder."""
    words = byte_words(tags_are_tokens=True)
    write_architecture(root / f"{architecture}.gguf", architecture, words)
    source = resolve(str(root / f"{architecture}.gguf"), Cache(root), Quiet(), GGUF)
    return llama_start(source, len(words.tokens), kv_cache_bytes=2**24, step_gap_s=60)


def changed(start: Start, **fields: Any) -> Start:
    """The same engine with other values: of what is served, of the frame, or else of the engine's options."""
    served = {name: fields.pop(name) for name in [*fields] if name in SERVED}
    frame = {name: fields.pop(name) for name in [*fields] if name in Start.__struct_fields__}
    return msgspec.structs.replace(
        start,
        served=dataclasses.replace(start.served, **served),
        options={**start.options, **fields},
        **frame,
    )


def private(start: Start, *, hang_s: float = 600.0, command: Sequence[str] | None = None) -> PrivateEngine:
    """An engine with a process of its own, not yet started; that of vLLM is in vLLM's environment."""
    environment: dict[str, str] = {}
    if start.factory == vllm.FACTORY:
        command = worker_command(str(vllm_python()))
        environment = vllm_variables()
    return PrivateEngine(EngineProcess(start, environment=environment, hang_s=hang_s, command=command))


def vllm_python() -> Path:
    """The interpreter of an environment with vLLM; skips the test where there is none."""
    named = os.environ.get(VLLM_PYTHON)
    if not named:
        pytest.skip(f"{VLLM_PYTHON} names no interpreter of an environment with vLLM: see make test-vllm")
    return Path(named).absolute()


def vllm_variables() -> dict[str, str]:
    """What its process needs: this code, and a cache that spares vLLM an import in each run of the tests."""
    return {"PYTHONPATH": str(ROOT / "src"), "VLLM_CACHE_ROOT": str(default_root() / "vllm-tests")}


# What makes the same tokens come whatever else runs, by the fixture of the engine.
EXACT: dict[str, dict[str, Any]] = {"openvino_start": {"precision": "f32"}, "llama_start": {"exact": True}}
# The fixture of vLLM's engine computes in float32.
VLLM = pytest.param("vllm_embedded_start", marks=pytest.mark.vllm)
EXACT_STARTS = [*EXACT, VLLM]


def exact(start: Start, fixture: str, **fields: Any) -> Start:
    """The engine of that fixture, changed so that its tokens do not depend on what else runs."""
    return changed(start, **EXACT.get(fixture, {}), **fields)


def core_of(start: Start, **how: Any) -> BatchCore:
    """The core of the CPU engine, in this process."""
    return open_core(start.served, start.options, **how)


def llama_core_of(start: Start, **how: Any) -> BatchCore:
    """The core of the llama.cpp engine, in this process."""
    return open_llama_core(start.served, start.options, **how)


def any_core_of(start: Start, **how: Any) -> BatchCore:
    """The core that the frame describes, in this process."""
    return (llama_core_of if start.factory == llamacpp.FACTORY else core_of)(start, **how)


def tokenizer_of(source: ModelSource) -> HfTokenizer:
    return HfTokenizer.from_file(source.folder / "tokenizer.json")


def model_xml(start: Start) -> str:
    return str(start.options["model_xml"])
