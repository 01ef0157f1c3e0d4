"""Where the layers of a model go, and whether all of it fits: decided before anything is loaded."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tessera.engine.llamacpp.config import LlamaOptions
from tessera.engine.llamacpp.library import Device
from tessera.errors import StartupError
from tessera.models.layers import ModelLayers
from tessera.models.memory import show_gib

# Buffers of a pass, on the processor and on each GPU: with real models 100 to 500 MB.
_WORK_BYTES = 2**29
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Split:
    """`gpu_layers` as llama.cpp counts them: the last ones, and the output as one more."""

    gpu_layers: int
    gpu_bytes: int
    host_bytes: int


def split(
    model: ModelLayers, options: LlamaOptions, gpus: tuple[Device, ...], *, n_tokens: int, n_sequences: int
) -> Split:
    """Where the model goes: as many layers on GPUs as fit there, or as many as the options name.

    `n_tokens` are all that have cells, `n_sequences` all that have a state.
    """
    cell_bytes = model.cell_bytes(options.kv_type)
    cells = min(options.kv_cache_bytes, n_tokens * cell_bytes)
    share = cells / cell_bytes if cell_bytes else 0.0

    def on_gpus(n_layers: int) -> int:
        n_bytes = model.other_bytes if n_layers > len(model.layers) else 0
        first = max(0, len(model.layers) - n_layers)
        for index, layer in enumerate(model.layers[first:], first):
            kept_back = layer.expert_bytes if index < options.cpu_experts else 0
            n_bytes += layer.weight_bytes - kept_back
            n_bytes += int(share * layer.cell_bytes(options.kv_type)) + n_sequences * layer.state_bytes
        return n_bytes

    total = model.weight_bytes + cells + n_sequences * model.state_bytes
    if not gpus:
        return Split(0, 0, total)
    room = sum(max(0, gpu.free_bytes - _WORK_BYTES) for gpu in gpus)
    most = len(model.layers) + 1
    fitting = next(n for n in range(most, -1, -1) if on_gpus(n) <= room or not n)
    n_layers = fitting if options.gpu_layers is None else min(options.gpu_layers, most)
    if on_gpus(n_layers) > room:
        raise StartupError(
            f"gpu_layers is {n_layers}, for which {show_gib(on_gpus(n_layers))} are needed on GPUs, and "
            f"{show_gib(room)} are free. {fitting} would fit; of a model with experts, more with cpu_experts."
        )
    return Split(n_layers, on_gpus(n_layers), total - on_gpus(n_layers))


def check_memory(
    model: ModelLayers, options: LlamaOptions, where: Split, available_bytes: int | None
) -> None:
    """Raises `StartupError` naming what would fit, if the processor's memory does not hold its part."""
    needed = where.host_bytes + _WORK_BYTES
    if available_bytes is None or needed <= available_bytes:
        return
    weights = model.weight_bytes - min(where.gpu_bytes, model.weight_bytes)
    left = available_bytes - weights - _WORK_BYTES
    text = (
        f"The model needs {show_gib(needed)} of memory, {show_gib(weights)} of it for weights, and "
        f"{show_gib(available_bytes)} are available. "
    )
    if left < options.step_tokens * model.cell_bytes(options.kv_type) + 2 * model.state_bytes:
        n_percent = int(100 * max(0, available_bytes - 2 * _WORK_BYTES) / max(1, weights))
        raise StartupError(
            f"{text}A file of at most {n_percent} % of its size would fit: choose a smaller quantisation."
        )
    if model.state_bytes:
        half = max(1, left // 2 // _MIB)
        raise StartupError(f"{text}It fits with kv_cache_bytes at {half}M and state_bytes at {half}M.")
    raise StartupError(f"{text}It fits with kv_cache_bytes at {max(1, left // _MIB)}M.")


def available_bytes(read: Callable[[Path], str] = Path.read_text) -> int | None:
    """What processes may still take of the processor's memory, also by the limit of the control group; None
    where that is not known.
    """
    found: list[int] = []
    try:
        lines = dict(line.split(":", 1) for line in read(Path("/proc/meminfo")).splitlines())
        found.append(int(lines["MemAvailable"].split()[0]) * 1024)
        group = Path("/sys/fs/cgroup")
        limit = int(read(group / "memory.max"))
        found.append(limit - int(read(group / "memory.current")))
    except (OSError, ValueError, KeyError):
        pass
    return min(found, default=None)
