from pathlib import Path

import pytest

from tessera.engine.openvino.convert import IR
from tessera.errors import ModelError
from tessera.models.cache import Cache, Origin, entry_name
from tessera.models.embedded import EMBEDDED
from tessera.models.progress import Quiet
from tessera.models.resolve import resolve


def ir_folder(path: Path) -> Path:
    path.mkdir()
    for name in ("openvino_model.xml", "openvino_model.bin", "tokenizer.json"):
        (path / name).write_text("")
    (path / "config.json").write_text('{"max_position_embeddings": 9}')
    return path


def test_an_ir_folder_is_served_where_it_is(tmp_path: Path) -> None:
    path = ir_folder(tmp_path / "my-model")
    cache = Cache(tmp_path / "cache")
    folder = resolve(str(path), cache, Quiet(), IR, offline=True)
    assert (folder.path, folder.model_id, folder.context_tokens) == (path, "my-model", 9)
    assert not cache.root.exists()


@pytest.mark.parametrize("spec", ["./absent/model.gguf", "absent", "/absent/folder", "a/b/c"])
def test_what_is_nothing_is_named(spec: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"{spec} is neither a folder"):
        resolve(spec, Cache(tmp_path), Quiet(), IR)


@pytest.mark.parametrize("spec", [None, "org/name", "org/name@v1:Q4"])
def test_offline_nothing_is_fetched(spec: str | None, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="offline setting forbids"):
        resolve(spec, Cache(tmp_path), Quiet(), IR, offline=True)
    assert Cache(tmp_path).entries() == []


def test_a_broken_gguf_file_is_named_and_nothing_is_cached(tmp_path: Path) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF\3\0\0\0")
    with pytest.raises(ModelError, match=r"broken\.gguf is not a GGUF file"):
        resolve(str(path), Cache(tmp_path / "cache"), Quiet(), IR)
    with pytest.raises(ModelError, match=r"broken\.gguf"):
        resolve(str(tmp_path), Cache(tmp_path / "cache"), Quiet(), IR)
    assert Cache(tmp_path / "cache").entries() == []


def test_the_embedded_model_has_a_penalty_and_a_limit_whoever_made_its_folder(tmp_path: Path) -> None:
    """A folder that an earlier version made has other defaults in its files."""
    cache = Cache(tmp_path)

    def build(folder: Path) -> Origin:
        for name in (*IR.files, "tokenizer.json"):
            (folder / name).write_text("")
        (folder / "config.json").write_text('{"max_position_embeddings": 9}')
        (folder / "generation_config.json").write_text('{"eos_token_id": [2], "temperature": 0.2}')
        return Origin(EMBEDDED.model_id, EMBEDDED.requirement)

    cache.ensure(entry_name(EMBEDDED.model_id), build, Quiet())
    source = resolve(None, cache, Quiet(), IR, offline=True)
    assert source.eos_token_ids == (2,)
    assert source.generation.sampling.frequency_penalty > 0
    assert source.default_output_tokens == EMBEDDED.default_output_tokens
