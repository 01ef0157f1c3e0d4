"""Whether a model fits, with the sequences and the context asked for: decided before anything is loaded.

    weights + sequences x states x bytes of a state + context x bytes of a token's keys and values
        <= GPUs x (share x memory of a GPU - work)

A sequence of a hybrid model has two states while prefixes are shared: the one that runs and the one that is
kept. The context is that of one sequence: what is left beyond it is shared by all.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from tessera.core.generation import EngineInfo
from tessera.engine.vllm.api import Accelerators
from tessera.engine.vllm.arguments import GPU_MEMORY_SHARE, drafts
from tessera.engine.vllm.config import VllmOptions
from tessera.engine.vllm.footprint import HfFootprint
from tessera.errors import StartupError
from tessera.models.machine import memory_bytes
from tessera.models.memory import show_gib

_logger = logging.getLogger(__name__)

WORK_BYTES = 3 * 2**30
"""Of each GPU: activations, the graphs of a step, and what CUDA takes for itself."""
_MOST_GPUS = 8
_FP8 = ("fp8", "fp8_e4m3", "fp8_e5m2")


@dataclass(frozen=True, slots=True)
class Needs:
    """Bytes on all GPUs of one replica together; a token's keys and values are on as many as share them."""

    weights: int
    state: int
    token: int

    def total(self, n_sequences: int, n_tokens: int) -> int:
        """With that many sequences, of which one has that many tokens."""
        return self.weights + n_sequences * self.state + n_tokens * self.token


def check_fits(
    model: HfFootprint,
    options: VllmOptions,
    served: EngineInfo,
    arguments: Mapping[str, object],
    gpus: Accelerators | None,
) -> None:
    """Raises `StartupError` naming what would fit; logs how many tokens the cache will hold."""
    if gpus is None:
        _check_processor(model, options)
        return
    n_gpus = _number(arguments, "tensor_parallel_size") * _number(arguments, "pipeline_parallel_size")
    n_all = n_gpus * _number(arguments, "data_parallel_size")
    if n_all > gpus.n:
        raise StartupError(
            f"tensor_parallel_size, pipeline_parallel_size and data_parallel_size ask for {n_all} GPUs, and "
            f"there are {gpus.n}."
        )
    needs = needs_of(model, options, arguments, n_gpus)
    room = room_of(gpus, arguments, n_gpus)
    n_sequences, n_tokens = served.max_sequences, served.context_tokens
    if needs.total(n_sequences, n_tokens) <= room:
        n_held = (room - needs.total(n_sequences, 0)) // max(1, needs.token)
        _logger.info(
            "vLLM: %d x %s; the KV cache will hold about %d tokens beside %d sequences",
            n_gpus,
            gpus.name,
            n_held,
            n_sequences,
        )
        return
    raise StartupError(
        f"The model needs {show_gib(needs.total(n_sequences, n_tokens))} of {n_gpus} x {gpus.name} for "
        f"{n_sequences} sequences and a context of {n_tokens} tokens ({show_gib(needs.weights)} of weights), "
        f"and {show_gib(room)} can be used. " + _instead(model, options, served, arguments, gpus)
    )


def needs_of(model: HfFootprint, options: VllmOptions, arguments: Mapping[str, object], n_gpus: int) -> Needs:
    """What the model takes of `n_gpus`."""
    n_states = 2 if arguments.get("enable_prefix_caching", True) else 1
    value_bytes = 1 if arguments.get("kv_cache_dtype") in _FP8 else 4 if options.precision == "f32" else 2
    copies = max(1, n_gpus // model.kv_heads)
    return Needs(
        weights=_weights(model, options) + (model.draft_bytes if drafts(options) else 0),
        state=n_states * model.state_bytes,
        token=copies * model.kv_values * value_bytes,
    )


def room_of(gpus: Accelerators, arguments: Mapping[str, object], n_gpus: int) -> int:
    """The bytes of `n_gpus` that a model may take; raises `StartupError`."""
    share = arguments.get("gpu_memory_utilization", GPU_MEMORY_SHARE)
    if not isinstance(share, int | float) or not 0 < share <= 1:
        raise StartupError(
            f"gpu_memory_utilization in engine_options is {share!r}: a number above 0 and up to 1 is needed."
        )
    return n_gpus * max(0, int(share * gpus.total_bytes) - WORK_BYTES)


def _instead(
    model: HfFootprint,
    options: VllmOptions,
    served: EngineInfo,
    arguments: Mapping[str, object],
    gpus: Accelerators,
) -> str:
    n_gpus = _number(arguments, "tensor_parallel_size") * _number(arguments, "pipeline_parallel_size")
    needs, room = needs_of(model, options, arguments, n_gpus), room_of(gpus, arguments, n_gpus)
    fewer = (room - needs.total(0, served.context_tokens)) // max(1, needs.state)
    shorter = (room - needs.total(served.max_sequences, 0)) // max(1, needs.token)
    found = [
        *([f"max_sequences at {fewer}"] if 0 < fewer < served.max_sequences else []),
        *([f"context_tokens at {shorter}"] if shorter >= 1024 else []),
    ]
    more = 2 * n_gpus
    while more <= _MOST_GPUS:
        needed = needs_of(model, options, arguments, more).total(served.max_sequences, served.context_tokens)
        if needed <= room_of(gpus, arguments, more):
            found.append(f"{more} such GPUs and tensor_parallel_size = {more} in engine_options")
            break
        more *= 2
    return (
        f"It fits with {', or with '.join(found)}." if found else "A checkpoint with fewer bytes is needed."
    )


def _check_processor(model: HfFootprint, options: VllmOptions) -> None:
    needed = _weights(model, options) + options.kv_cache_bytes + WORK_BYTES
    if needed > memory_bytes():
        raise StartupError(
            f"The model needs {show_gib(needed)} of memory, and this machine has {show_gib(memory_bytes())}. "
            "Lower kv_cache_bytes, or serve it with vLLM for GPUs."
        )


def _weights(model: HfFootprint, options: VllmOptions) -> int:
    return model.weights_bytes + (model.half_bytes if options.precision == "f32" else 0)


def _number(arguments: Mapping[str, object], name: str) -> int:
    found = arguments.get(name, 1)
    if not isinstance(found, int) or found < 1:
        raise StartupError(f"{name} in engine_options is {found!r}: a whole number from 1 is needed.")
    return found
