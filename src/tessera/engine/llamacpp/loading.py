"""Loads a model where it fits, and logs what computes it."""

import ctypes as c
import logging
from pathlib import Path

from tessera.core.generation import EngineInfo
from tessera.engine.llamacpp.api import LlamaApi
from tessera.engine.llamacpp.config import LlamaOptions
from tessera.engine.llamacpp.context import LlamaModel
from tessera.engine.llamacpp.layouts import BufferOverride
from tessera.engine.llamacpp.library import Library
from tessera.engine.llamacpp.offload import Split, available_bytes, check_memory, split
from tessera.engine.llamacpp.sizes import most_states
from tessera.models.gguf import header_of
from tessera.models.layers import read_layers

_logger = logging.getLogger(__name__)

_CPUINFO = Path("/proc/cpuinfo")


def load(library: Library, api: LlamaApi, options: LlamaOptions, served: EngineInfo) -> LlamaModel:
    """The model of the options; raises `StartupError` and `ModelError`, before it is loaded if it does not
    fit.
    """
    paths = [Path(path) for path in options.ggufs]
    model = read_layers([header_of(path) for path in paths])
    where = split(
        model,
        options,
        library.gpus,
        n_tokens=served.max_sequences * served.context_tokens,
        n_sequences=most_states(options, model.state_bytes, served.max_sequences),
    )
    check_memory(model, options, where, available_bytes())
    _report(library, where, len(model.layers))
    overrides = _overrides(api, options.cpu_experts if where.gpu_layers else 0)
    params = {"n_gpu_layers": where.gpu_layers, "tensor_buft_overrides": c.addressof(overrides)}
    return LlamaModel(api, paths, params)


def _overrides(api: LlamaApi, n_layers: int) -> "c.Array[BufferOverride]":
    """Experts of the first layers go into buffers of the processor. The last entry ends the list."""
    cpu = api.ggml_backend_cpu_buffer_type()
    names = [rf"blk\.{layer}\.ffn_(up|down|gate|gate_up)_(ch|)exps".encode() for layer in range(n_layers)]
    entries = [BufferOverride(name, cpu) for name in names]
    return (BufferOverride * (n_layers + 1))(*entries)


def _report(library: Library, where: Split, n_layers: int) -> None:
    devices = ", ".join(f"{device.name} ({device.description})" for device in library.devices)
    _logger.info(
        "llama.cpp: %s %s on %s; %d of %d layers on GPUs",
        library.name,
        library.version,
        devices,
        min(where.gpu_layers, n_layers),
        n_layers,
    )
    try:
        has_avx512 = "avx512f" in _CPUINFO.read_text()
    except OSError:
        return
    if has_avx512 and not any(name.startswith("AVX512") for name in library.features):
        _logger.warning(
            "this processor has AVX-512, which this library of llama.cpp does not use: one that is built "
            "here, as llama-cpp-python is, is faster"
        )
