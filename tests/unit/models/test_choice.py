"""Which engine computes which file."""

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
from tests.gguf_vocabulary import add_fields, byte_level

from tessera.models.cache import Cache, Origin
from tessera.models.choice import EngineChoice, choose_engine, why_not_openvino
from tessera.models.gguf import header_of
from tessera.models.progress import Quiet

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(
        architecture: str = "qwen3", pre: str = "qwen2", *, experts: int = 0, type: str = "F16"
    ) -> Path:
        path = tmp_path / "model.gguf"
        writer = gguf.GGUFWriter(path, architecture)
        writer.add_context_length(512)
        if experts:
            writer.add_expert_count(experts)
        add_fields(writer, byte_level(pre, ["a b"]))
        kind = gguf.GGMLQuantizationType[type]
        writer.add_tensor(
            "output.weight", gguf.quants.quantize(np.ones((4, 256), np.float32), kind), raw_dtype=kind
        )
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    return write


def choose(
    spec: Path | str | None, cache: Path, *, on_gpu: bool = False, has_llamacpp: bool = True
) -> EngineChoice:
    return choose_engine(
        None if spec is None else str(spec),
        Cache(cache),
        Quiet(),
        on_gpu=on_gpu,
        has_llamacpp=has_llamacpp,
        offline=True,
    )


@pytest.mark.parametrize(
    ("changes", "engine", "reason"),
    [
        ({}, "openvino", "the file is small"),
        ({"architecture": "llama", "pre": "llama-bpe"}, "openvino", "the file is small"),
        ({"architecture": "gemma3"}, "llamacpp", "the architecture is gemma3"),
        ({"architecture": "qwen35moe", "experts": 8}, "llamacpp", "the architecture is qwen35moe"),
        ({"architecture": "llama", "experts": 8}, "llamacpp", "mixture of experts"),
        ({"type": "Q5_0"}, "llamacpp", "the quantisation"),
        ({"pre": "superbpe"}, "llamacpp", "the tokenizer"),
    ],
)
def test_a_file_has_its_engine(
    write: Write, tmp_path: Path, changes: dict[str, object], engine: str, reason: str
) -> None:
    choice = choose(write(**changes), tmp_path)
    assert choice.engine == engine
    assert reason in choice.reason
    assert choose(tmp_path, tmp_path) == choice


def test_a_gpu_is_for_llamacpp(write: Write, tmp_path: Path) -> None:
    assert choose(write(), tmp_path, on_gpu=True).engine == "llamacpp"


def test_without_a_library_openvino_is_tried(write: Write, tmp_path: Path) -> None:
    assert choose(write("gemma3"), tmp_path, has_llamacpp=False).engine == "openvino"


def test_the_embedded_model_is_openvinos(tmp_path: Path) -> None:
    assert choose(None, tmp_path, on_gpu=True).engine == "openvino"


@pytest.mark.parametrize(("entry", "engine"), [("org--name", "openvino"), ("org--name.gguf", "llamacpp")])
def test_a_model_in_the_cache_keeps_its_engine(tmp_path: Path, entry: str, engine: str) -> None:
    Cache(tmp_path).ensure(entry, lambda folder: Origin("org/name", "hub"), Quiet())
    assert choose("org/name", tmp_path).engine == engine


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({}, None),
        ({"architecture": "gemma3"}, "the architecture gemma3"),
        ({"experts": 8}, "a mixture of experts"),
        ({"type": "Q5_0"}, "the quantisation Q5_0"),
    ],
)
def test_what_openvino_does_not_read_is_said_with_all_that_it_reads(
    write: Write, changes: dict[str, object], named: str | None
) -> None:
    said = why_not_openvino([header_of(write(**changes))])
    if named is None:
        assert said is None
        return
    assert said is not None
    for part in (named, "llama, qwen2, qwen3", "Q4_K", "tessera engines install llamacpp"):
        assert part in said
