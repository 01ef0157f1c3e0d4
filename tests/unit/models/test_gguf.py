from pathlib import Path

import gguf
import numpy as np
import pytest

from tessera.errors import ModelError
from tessera.models.gguf import read_metadata


def written(path: Path, architecture: str = "llama", length: int | None = 512) -> Path:
    writer = gguf.GGUFWriter(path, architecture)
    if length is not None:
        writer.add_context_length(length)
    writer.add_token_list(["<s>", "a", "<end>", "<turn>"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(2)
    writer.add_eot_token_id(3)
    writer.add_chat_template("{{ messages }}")
    writer.add_tensor("weights", np.arange(4096, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_what_conversion_needs_is_read_by_name(tmp_path: Path) -> None:
    metadata = read_metadata(written(tmp_path / "m.gguf"))
    assert (metadata.architecture, metadata.context_tokens) == ("llama", 512)
    assert metadata.eos_token_ids == (2, 3)
    assert (metadata.bos_token, metadata.eos_token) == ("<s>", "<end>")
    assert metadata.chat_template == "{{ messages }}"
    assert metadata.fields["tokenizer.ggml.tokens"] == ["<s>", "a", "<end>", "<turn>"]


def test_a_file_that_does_not_say_its_context_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="context length"):
        read_metadata(written(tmp_path / "m.gguf", length=None))


@pytest.mark.parametrize("kept", [0, 3, 4, 20, 100, 200, 400, 1000, -1])
def test_a_file_that_is_cut_off_is_refused(kept: int, tmp_path: Path) -> None:
    path = written(tmp_path / "m.gguf")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelError, match=r"m\.gguf is not a GGUF file, or not a whole one"):
        read_metadata(path)


def test_any_other_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"PK\3\4" + bytes(1000))
    with pytest.raises(ModelError, match="GGUF"):
        read_metadata(path)
