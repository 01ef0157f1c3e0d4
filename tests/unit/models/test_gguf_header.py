from pathlib import Path

import pytest
from tests.tiny_architectures import ARCHITECTURES, Architecture, write_architecture
from tests.tiny_model import byte_words, write_gguf

from tessera.errors import ModelError
from tessera.models.gguf import read_metadata
from tessera.models.gguf_header import read_header


def test_its_values_are_those_of_the_library_without_the_vocabulary(tmp_path: Path) -> None:
    write_gguf(tmp_path / "m.gguf", byte_words(tags_are_tokens=True), template="{{ messages }}")
    values = read_header([tmp_path / "m.gguf"]).values
    known = {
        key: value for key, value in read_metadata(tmp_path / "m.gguf").fields.items() if "GGUF." not in key
    }
    skipped = {"tokenizer.ggml.tokens", "tokenizer.ggml.merges"}
    assert values == {key: value for key, value in known.items() if key not in skipped}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_tensors_are_all_that_is_not_header(architecture: Architecture, tmp_path: Path) -> None:
    import gguf

    path = tmp_path / "m.gguf"
    write_architecture(path, architecture, byte_words(tags_are_tokens=True))
    sizes = read_header([path]).tensor_bytes
    tensors = gguf.GGUFReader(path).tensors
    assert sizes.keys() == {tensor.name for tensor in tensors}
    for tensor in tensors:
        assert tensor.n_bytes <= sizes[tensor.name] < tensor.n_bytes + 32


def test_the_parts_of_a_model_are_read_together(tmp_path: Path) -> None:
    for index, name in enumerate(("one", "two")):
        write_gguf(tmp_path / name, byte_words(tags_are_tokens=True), seed=index)
    one, both = read_header([tmp_path / "one"]), read_header([tmp_path / "one", tmp_path / "two"])
    assert both == one


@pytest.mark.parametrize("n_bytes", [0, 3, 10, 200, 3_000, -60_000])
def test_what_is_cut_off_is_refused(n_bytes: int, tmp_path: Path) -> None:
    write_gguf(tmp_path / "m.gguf", byte_words(tags_are_tokens=True))
    whole = (tmp_path / "m.gguf").read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[:n_bytes])
    with pytest.raises(ModelError, match=r"cut\.gguf is not a GGUF file, or not a whole one"):
        read_header([tmp_path / "cut.gguf"])
