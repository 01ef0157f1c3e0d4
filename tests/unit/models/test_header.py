import io
from pathlib import Path

import pytest
from tests.tiny_architectures import ARCHITECTURES, Architecture, write_architecture
from tests.tiny_model import byte_words, write_gguf

from tessera.errors import ModelError
from tessera.models.gguf import header_of
from tessera.models.header import read_header


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_header_is_as_the_library_reads_it(architecture: Architecture, tmp_path: Path) -> None:
    import gguf

    path = tmp_path / "m.gguf"
    write_architecture(path, architecture, byte_words(tags_are_tokens=True))
    header, reader = header_of(path), gguf.GGUFReader(path)
    known = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    assert header.fields == known
    assert [tensor.name for tensor in header.tensors] == [tensor.name for tensor in reader.tensors]
    for ours, tensor in zip(header.tensors, reader.tensors, strict=True):
        assert (ours.size_bytes, header.data_start + ours.offset) == (tensor.n_bytes, tensor.data_offset)
    assert header.end <= path.stat().st_size < header.end + 32


@pytest.mark.parametrize("n_bytes", [0, 3, 10, 200, 3_000, -60_000])
def test_what_is_cut_off_is_refused(n_bytes: int, tmp_path: Path) -> None:
    write_gguf(tmp_path / "m.gguf", byte_words(tags_are_tokens=True))
    whole = (tmp_path / "m.gguf").read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[:n_bytes])
    with pytest.raises(ModelError, match=r"cut\.gguf is not a GGUF file, or not a whole one"):
        header_of(tmp_path / "cut.gguf")


@pytest.mark.parametrize(
    "after_the_counts",
    [
        b"\xff" * 8,  # a key of 2**64 - 1 bytes
        b"\1\0\0\0\0\0\0\0k" + b"\x0d\0\0\0",  # a type that there is not
        b"\1\0\0\0\0\0\0\0k" + b"\x09\0\0\0\x09\0\0\0" + b"\1" + bytes(7),  # an array of arrays
        b"\1\0\0\0\0\0\0\0k" + b"\x09\0\0\0\x08\0\0\0" + b"\xff" * 8,  # an endless array
    ],
)
def test_a_hostile_header_is_refused(after_the_counts: bytes) -> None:
    content = b"GGUF\3\0\0\0" + bytes(8) + b"\1" + bytes(7) + after_the_counts
    with pytest.raises(ModelError, match="m is not a GGUF file"):
        read_header(io.BytesIO(content), "m")
