"""What a machine has: memory, and how fast it is read. From these follows how fast a model can answer."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tessera.models.layers import KvType
from tessera.models.memory import ModelNeeds

_CGROUP = Path("/sys/fs/cgroup/memory.max")
_MEASURED_BYTES = 2**29
_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Machine:
    """Bytes, and bytes per second. A machine without a GPU has 0 of its memory."""

    memory_bytes: int
    bandwidth: float
    gpu_memory_bytes: int = 0
    gpu_bandwidth: float = 0.0


def memory_bytes() -> int:
    """The memory of this machine, or of the container that this process runs in."""
    n_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):  # absent outside of Linux; "max" without a limit
        n_bytes = min(n_bytes, int(_CGROUP.read_text()))
    return n_bytes


def measure_bandwidth() -> float:
    """Bytes per second that all cores together read from memory: the best of several rounds, in a second."""
    n_threads = os.cpu_count() or 1
    parts = np.array_split(np.ones(_MEASURED_BYTES // 8), n_threads)
    best = 0.0
    with ThreadPoolExecutor(n_threads) as threads:
        for _ in range(_ROUNDS):
            begun = time.perf_counter()
            list(threads.map(np.max, parts))
            best = max(best, _MEASURED_BYTES / (time.perf_counter() - begun))
    return best


def tokens_per_s(needs: ModelNeeds, machine: Machine, n_past: int, kv_type: KvType) -> float:
    """The most tokens per second that one sequence can get: what a token reads, by what the memory gives.

    On a GPU lies all but the experts that its memory does not hold.
    """
    others, experts = needs.others_read(n_past, kv_type), needs.experts_read()
    if not machine.gpu_memory_bytes:
        return machine.bandwidth / (others + experts)
    model = needs.model
    resident = (
        model.weight_bytes - model.expert_bytes + n_past * model.cell_bytes(kv_type) + model.state_bytes
    )
    room = machine.gpu_memory_bytes - resident
    if room < 0:  # layers, then, are divided between the two
        share = machine.gpu_memory_bytes / resident
        on_gpu, on_cpu = share * others, (1 - share) * others + experts
    else:
        share = min(1.0, room / model.expert_bytes) if model.expert_bytes else 1.0
        on_gpu, on_cpu = others + share * experts, (1 - share) * experts
    return 1 / (on_gpu / machine.gpu_bandwidth + on_cpu / machine.bandwidth)
