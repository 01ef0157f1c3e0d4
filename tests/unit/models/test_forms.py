"""Forms of weights whose files have no fixed names."""

import json
from pathlib import Path

import pytest

from tessera.engine.vllm.files import SAFETENSORS
from tessera.errors import ModelError
from tessera.models.folder import read_folder
from tessera.models.hub import HubId, choose_files

SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
BESIDE = ["config.json", "tokenizer.json", "model.safetensors.index.json", "merges.txt"]
ELSEWHERE = ["README.md", "original/x.safetensors", "modeling.py", "model.Q4_K_M.gguf", ".gitattributes"]


def test_all_weights_and_what_goes_with_them_are_fetched_and_nothing_else() -> None:
    names = [*SHARDS, *BESIDE, *ELSEWHERE]
    assert sorted(choose_files(HubId("a/b"), names, SAFETENSORS)) == sorted([*SHARDS, *BESIDE])


def test_a_gguf_file_that_is_named_is_what_is_meant() -> None:
    names = [*SHARDS, *BESIDE, *ELSEWHERE]
    assert choose_files(HubId("a/b", gguf="Q4_K_M"), names, SAFETENSORS) == ["model.Q4_K_M.gguf"]


def test_a_repository_without_weights_is_refused() -> None:
    with pytest.raises(ModelError, match="has no safetensors and no GGUF file"):
        choose_files(HubId("a/b"), BESIDE, SAFETENSORS)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"max_position_embeddings": 64}))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match=r"it has no \*\.safetensors"):
        read_folder(tmp_path, "m", SAFETENSORS)
    (tmp_path / SHARDS[0]).write_bytes(b"")
    assert read_folder(tmp_path, "m", SAFETENSORS).context_tokens == 64


def test_a_gguf_file_is_not_converted(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="vLLM does not read"):
        SAFETENSORS.convert(tmp_path / "m.gguf", tmp_path)
