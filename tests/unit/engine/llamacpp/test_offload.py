from dataclasses import replace
from pathlib import Path

import pytest

from tessera.engine.llamacpp.config import LlamaOptions
from tessera.engine.llamacpp.library import Device
from tessera.engine.llamacpp.offload import available_bytes, check_memory, split
from tessera.errors import StartupError
from tessera.models.layers import Layer, ModelLayers

GIB, MIB = 2**30, 2**20
OPTIONS = LlamaOptions(["m.gguf"], "tokenizer.json", kv_cache_bytes=GIB, step_tokens=256)
# 40 layers of half a GiB, of which experts take most; every fourth attends, the others have states.
MODEL = ModelLayers(
    tuple(
        Layer(512 * MIB, 480 * MIB, **({"kv_values": 1024} if index % 4 == 3 else {"state_values": MIB // 2}))
        for index in range(40)
    ),
    other_bytes=GIB,
)
DENSE = ModelLayers((Layer(256 * MIB, kv_values=2048),) * 16, other_bytes=512 * MIB)


def gpu(free_gib: float) -> Device:
    return Device("GPU0", "a card", "gpu", int(free_gib * GIB), 24 * GIB)


def placed(model: ModelLayers, *gpus: Device, **options: int) -> tuple[int, float]:
    """The number of layers on GPUs, and the GiB that are left to the processor."""
    chosen = replace(OPTIONS, **options)  # pyright: ignore[reportArgumentType]
    where = split(model, chosen, gpus, n_tokens=10**9, n_sequences=20 if model.state_bytes else 0)
    return where.gpu_layers, round(where.host_bytes / GIB, 2)


def test_without_gpus_all_is_the_processors() -> None:
    assert placed(DENSE) == (0, 16 * 0.25 + 0.5 + 1)


def test_as_many_layers_as_fit_go_to_gpus_and_all_of_them_take_the_output_along() -> None:
    assert placed(DENSE, gpu(24)) == (17, 0)
    assert placed(DENSE, gpu(0.1)) == (0, 5.5)
    few, left = placed(DENSE, gpu(2))
    assert few == 4
    assert left == 5.5 - 4 * (0.25 + 1 / 16)
    assert placed(DENSE, gpu(2), gpu(2))[0] == 2 * 4 + 1


def test_experts_that_stay_make_room_for_all_layers() -> None:
    assert placed(MODEL, gpu(8))[0] < 20
    layers, left = placed(MODEL, gpu(8), cpu_experts=40)
    assert layers == 41
    assert left == round(40 * 480 / 1024, 2)


def test_layers_that_do_not_fit_are_refused_with_how_many_would() -> None:
    with pytest.raises(StartupError, match=r"gpu_layers is 10, .* 4 would fit"):
        placed(DENSE, gpu(2), gpu_layers=10)
    assert placed(DENSE, gpu(2), gpu_layers=3)[0] == 3


def refusal(model: ModelLayers, available: float, **options: int) -> str:
    chosen = replace(OPTIONS, **options)  # pyright: ignore[reportArgumentType]
    where = split(model, chosen, (), n_tokens=10**9, n_sequences=20 if model.state_bytes else 0)
    with pytest.raises(StartupError) as refused:
        check_memory(model, chosen, where, int(available * GIB))
    return refused.value.message


def test_budgets_that_do_not_fit_are_refused_with_some_that_do() -> None:
    message = refusal(DENSE, 5.5)
    assert "needs 6.0 GiB of memory, 4.5 GiB of it for weights, and 5.5 GiB are available" in message
    assert message.endswith("It fits with kv_cache_bytes at 512M.")
    where = split(DENSE, replace(OPTIONS, kv_cache_bytes=512 * MIB), (), n_tokens=10**9, n_sequences=0)
    check_memory(DENSE, OPTIONS, where, int(5.5 * GIB))
    assert refusal(MODEL, 22).endswith("It fits with kv_cache_bytes at 256M and state_bytes at 256M.")


def test_weights_that_do_not_fit_are_refused() -> None:
    assert "at most 66 % of its size would fit: choose a smaller quantisation" in refusal(DENSE, 4)


def test_what_is_not_known_is_not_refused() -> None:
    check_memory(DENSE, OPTIONS, split(DENSE, OPTIONS, (), n_tokens=10**9, n_sequences=0), None)


def test_what_is_available_is_the_less_of_the_machine_and_the_group() -> None:
    files = {
        "/proc/meminfo": "MemTotal: 2000 kB\nMemAvailable: 1000 kB\n",
        "/sys/fs/cgroup/memory.max": "900000\n",
        "/sys/fs/cgroup/memory.current": "500000\n",
    }

    def read(path: Path) -> str:
        return files[str(path)]

    assert available_bytes(read) == 400_000
    files["/sys/fs/cgroup/memory.max"] = "max\n"
    assert available_bytes(read) == 1_024_000
    del files["/proc/meminfo"]
    assert available_bytes(read) is None
