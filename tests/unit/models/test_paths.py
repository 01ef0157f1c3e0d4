"""A mistyped path is called a mistyped path, and what there is instead is said."""

from pathlib import Path

import pytest

from tessera.errors import ModelError
from tessera.models.cache import Cache
from tessera.models.choice import choose_engine
from tessera.models.hub import HubId
from tessera.models.paths import is_path, where_it_ends
from tessera.models.progress import Quiet

PATHS = [
    "./model",
    "../model",
    "/model",
    "~/model",
    "models/Qwen3.gguf",
    "Qwen3.GGUF",
    "a/b/c",
    "../..x",
    "a/b/c.gguf",
]
IDS = ["org/name", "org/name@refs/pr/1:Q4", "org/name@v1", "org/name:Q4_K_M", "org/name.gguf@main"]


@pytest.mark.parametrize("spec", PATHS)
def test_a_path_is_never_asked_for_on_a_hub(spec: str, tmp_path: Path) -> None:
    assert is_path(spec)
    assert HubId.parse(spec) is None
    with pytest.raises(ModelError, match=r"is neither a folder.* there is no "):
        choose_engine(spec, Cache(tmp_path), Quiet(), on_gpu=False, has_llamacpp=True, offline=False)


@pytest.mark.parametrize("spec", IDS)
def test_an_id_of_a_hub_is_none(spec: str) -> None:
    assert not is_path(spec)
    assert HubId.parse(spec) is not None


def test_what_there_is_instead_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "Qwen3-4B-Q4_K_M.gguf").touch()
    close = where_it_ends(str(folder / "Qwen3-4B-Q4_KM.gguf"))
    assert close == f"there is no {folder}/Qwen3-4B-Q4_KM.gguf. Did you mean {folder}/Qwen3-4B-Q4_K_M.gguf?"
    assert f"Did you mean {folder}?" in where_it_ends(str(tmp_path / "model/Qwen3-4B-Q4_K_M.gguf"))
    other = where_it_ends(str(folder / "zzz"))
    assert other == f"there is no zzz in {folder}. It has Qwen3-4B-Q4_K_M.gguf."
