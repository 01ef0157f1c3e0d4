"""`tessera plan`: its figures are those of its formula, computed here again from the shape of the model."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.tiny_architectures import TINY, write_architecture
from tests.tiny_model import byte_words

from tessera.models.gguf import header_of

Tessera = Callable[..., tuple[int, str, str]]
GB, GIB = 1e9, 2**30
BANDWIDTH, GPU_BANDWIDTH = 100, 400


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plan") / "tiny.gguf"
    write_architecture(path, "qwen35moe", byte_words(tags_are_tokens=True))
    return path


def plan(tessera: Tessera, *arguments: object) -> dict[str, str]:
    """Runs `tessera plan`; returns the value behind each label."""
    code, said, errors = tessera("plan", *arguments)
    assert code == 0, errors
    lines = (line.strip().partition("\t") for line in said.splitlines())
    return {label: value for label, _, value in lines}


def sizes(gguf: Path) -> tuple[int, int, int, int, int]:
    """The bytes of the weights, the experts, the table of embeddings, a cell and a state."""
    tensors = header_of(gguf).tensors
    experts = sum(tensor.size_bytes for tensor in tensors if "_exps." in tensor.name)
    (table,) = (tensor.size_bytes for tensor in tensors if tensor.name == "token_embd.weight")
    n_cell_values = 2 * TINY.kv_heads * TINY.head  # one of four layers attends
    inner = TINY.value_heads * TINY.state
    n_state_values = 3 * (3 * (inner + 2 * TINY.key_heads * TINY.state) + inner * TINY.state)
    weights = sum(tensor.size_bytes for tensor in tensors)
    return weights, experts, table, 2 * n_cell_values, 4 * n_state_values


def pace(line: str) -> tuple[float, float]:
    """The tokens per second of a line, and the gigabytes that each of them reads."""
    found = re.fullmatch(r"([\d.,]+) tokens/s \(([\d.]+) GB for each\)", line)
    assert found, line
    return float(found[1].replace(",", "")), float(found[2])


def test_memory_is_that_of_weights_cells_and_states(tessera: Tessera, gguf: Path) -> None:
    said = plan(tessera, gguf, "--memory-gb", 32, "--bandwidth-gb-s", BANDWIDTH, "--kv-cache-bytes", "1GiB")
    weights, experts, _, cell, state = sizes(gguf)
    assert said["Weights"] == f"{weights / GIB:.1f} GiB"
    share = TINY.used / TINY.experts
    assert said["of them experts"] == f"{experts / GIB:.1f} GiB, {share:.1%} for each token"
    held = f"kv_cache_bytes holds {GIB // cell:,}"
    assert said["KV cache, f16"].startswith(f"{cell / 1024:,.1f} KiB for each token: {held}")
    assert said["KV cache, q8_0"].startswith(f"{cell * 34 / 64 / 1024:,.1f} KiB for each token")
    assert said["State"] == f"{state / 2**20:,.1f} MiB for each sequence"
    assert said["Together"] == "3.5 GiB, which fits into 32.0 GiB"  # the budgets, and half of one for passes
    small = plan(tessera, gguf, "--memory-gb", 2, "--bandwidth-gb-s", BANDWIDTH)
    assert small["Together"].endswith("which does not fit into 2.0 GiB")


def test_the_pace_is_what_a_token_reads_by_what_memory_gives(tessera: Tessera, gguf: Path) -> None:
    said = plan(tessera, gguf, "--memory-gb", 32, "--bandwidth-gb-s", BANDWIDTH)
    assert "after 4,096 tokens" not in said  # the whole context of this model
    weights, experts, table, _, state = sizes(gguf)
    read = weights - experts - table + experts * TINY.used / TINY.experts + 2 * state
    tokens_per_s, gigabytes = pace(said["after 0 tokens"])
    assert tokens_per_s == pytest.approx(BANDWIDTH * GB / read, rel=1e-3)
    assert gigabytes == pytest.approx(read / GB, abs=0.005)


def test_what_a_gpu_holds_is_read_from_it(tessera: Tessera, gguf: Path) -> None:
    machine = ("--memory-gb", 32, "--bandwidth-gb-s", BANDWIDTH)
    weights, experts, table, _, state = sizes(gguf)
    others, read_experts = weights - experts - table + 2 * state, experts * TINY.used / TINY.experts
    room = weights - experts + state + experts // 2  # half of the experts find a place there
    gpu = ("--gpu-memory-gb", room / GIB, "--gpu-bandwidth-gb-s", GPU_BANDWIDTH)
    seconds = (others + read_experts / 2) / (GPU_BANDWIDTH * GB) + read_experts / 2 / (BANDWIDTH * GB)
    tokens_per_s, _ = pace(plan(tessera, gguf, *machine, *gpu)["after 0 tokens"])
    assert tokens_per_s == pytest.approx(1 / seconds, rel=1e-3)


def test_what_is_missing_is_named(tessera: Tessera, gguf: Path) -> None:
    code, _, said = tessera("plan", gguf, "--gpu-memory-gb", 8)
    assert (code, "--gpu-memory-gb needs --gpu-bandwidth-gb-s" in said) == (2, True)
    code, _, said = tessera("plan", "no-such-file.gguf")
    assert (code, "is neither a GGUF file nor the id of a model on a hub" in said) == (2, True)
