"""What a file's header says that a model will keep is what llama.cpp allocates, as its log reports it."""

import ctypes as c
import re
from pathlib import Path
from typing import get_args

import pytest
from tests.tiny_architectures import ARCHITECTURES, HYBRID, Architecture, write_architecture
from tests.tiny_model import byte_words

from tessera.engine.llamacpp.context import Context, ContextParams, LlamaModel
from tessera.engine.llamacpp.library import open_library
from tessera.errors import StartupError
from tessera.models.gguf import header_of
from tessera.models.layers import KvType, read_layers

pytestmark = pytest.mark.live

N_CELLS, N_IDS = 4096, 64
MIB = 2**20
SHOWN_BYTES = MIB / 100
"""The log has two decimals of a mebibyte."""
SIZE = re.compile(r"llama_(kv_cache|memory_recurrent): size = +([\d.]+) MiB")


def allocated(path: Path, kv_type: KvType) -> dict[str, list[float]]:
    """The bytes of all cells and of all states; llama.cpp has a cache for each kind of attention."""
    lines: list[str] = []

    @c.CFUNCTYPE(None, c.c_int, c.c_char_p, c.c_void_p)
    def hear(level: int, text: bytes, _: object) -> None:
        lines.append(text.decode())

    _, api = open_library(None)
    model = LlamaModel(api, [path], {})
    api.llama_log_set(hear, None)
    try:
        Context(model, ContextParams(N_CELLS, N_IDS, 64, 64, N_IDS, threads=1, kv_type=kv_type)).close()
    finally:
        api.llama_log_set(api._log, None)
    found: dict[str, list[float]] = {"kv_cache": [], "memory_recurrent": []}
    for kind, size in (match.groups() for line in lines if (match := SIZE.match(line))):
        found[kind].append(float(size) * MIB)
    return found


@pytest.mark.parametrize("kv_type", get_args(KvType))
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_cells_and_states_take_what_the_header_says(
    architecture: Architecture, kv_type: KvType, tmp_path: Path
) -> None:
    try:
        open_library(None)
    except StartupError as error:
        pytest.skip(str(error))
    path = tmp_path / "tiny.gguf"
    write_architecture(path, architecture, byte_words(tags_are_tokens=True))
    model = read_layers([header_of(path)])
    found = allocated(path, kv_type)
    assert model.cell_bytes(kv_type) > 0
    for expected, sizes in (
        (N_CELLS * model.cell_bytes(kv_type), found["kv_cache"]),
        (N_IDS * model.state_bytes, found["memory_recurrent"]),
    ):
        assert sum(sizes) == pytest.approx(expected, abs=SHOWN_BYTES * max(1, len(sizes)))
    assert bool(found["memory_recurrent"]) == (architecture in HYBRID)
