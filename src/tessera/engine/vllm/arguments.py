"""The arguments with which vLLM is started: ours by default, the operator's where they are given.

| argument                    | why                                                                         |
|-----------------------------|-----------------------------------------------------------------------------|
| `language_model_only`       | images are not served, and their encoder would take memory                  |
| `scheduling_policy`         | tiers have priorities                                                       |
| `structured_outputs_config` | our grammars are Lark for llguidance                                        |
| `generation_config`         | a request's sampling is complete when it arrives                            |
| `enable_prefix_caching`     | on, except with drafts: together they are reported to give wrong tokens     |
| `kv_cache_dtype`            | fp8 where the GPU computes with it: twice the tokens in the same memory     |
| `seed`                      | vLLM's is always 0: requests without a seed would repeat after each start   |
| `enforce_eager`             | on processors: compiling takes minutes and gains little                     |
| `enable_chunked_prefill`    | on, except on processors: there a seeded prompt that is cut, also where a   |
|                             | prefix ends, ends vLLM 0.32 ("CPU Generator does not use offset")           |
"""

import difflib
import secrets
from collections.abc import Mapping

from tessera.core.generation import EngineInfo
from tessera.engine.vllm.api import Accelerators
from tessera.engine.vllm.config import VllmOptions
from tessera.errors import StartupError

MOST_LOGPROBS = 20
GPU_MEMORY_SHARE = 0.92
_N_DRAFTED = 2
_LEAST_BATCH_TOKENS = 2048

# The guarantees of the chat layer rest on these: which model and tokenizer it is, that every token follows
# the grammar, and that nothing that quotes a request is logged.
_OURS = frozenset(
    {
        "model",
        "tokenizer",
        "tokenizer_revision",
        "skip_tokenizer_init",
        "trust_remote_code",
        "max_model_len",
        "max_num_seqs",
        "scheduling_policy",
        "structured_outputs_config",
        "reasoning_parser",
        "reasoning_parser_plugin",
        "reasoning_config",
        "logits_processors",
        "generation_config",
        "max_logprobs",
        "logprobs_mode",
        "disable_log_stats",
        "logging_config",
        "log_level",
        "log_config_file",
    }
)

_DRAFTING = ("speculative_config", "spec_method", "spec_model")


def engine_arguments(
    options: VllmOptions, served: EngineInfo, gpus: Accelerators | None, known: frozenset[str]
) -> dict[str, object]:
    """What vLLM's engine is made with; raises `StartupError` for arguments that are not among `known`, not
    the operator's to set, or unsafe together.
    """
    check_names(options.arguments, known)
    _check_drafts(options)
    mtp = options.speculative == "mtp"
    ours: dict[str, object] = {
        "model": options.folder,
        "max_model_len": served.context_tokens,
        "max_num_seqs": served.max_sequences,
        "dtype": "float32" if options.precision == "f32" else "auto",
        "seed": secrets.randbelow(2**31),
        "language_model_only": True,
        "scheduling_policy": "priority",
        "structured_outputs_config": {"backend": "guidance"},
        "generation_config": "vllm",
        "max_logprobs": MOST_LOGPROBS,
        "disable_log_stats": False,
        "enable_prefix_caching": not drafts(options),
        "enable_chunked_prefill": True,
    }
    if mtp:
        ours["speculative_config"] = {"method": "mtp", "num_speculative_tokens": _N_DRAFTED}
    if gpus is None:
        ours |= {
            "enforce_eager": True,
            "enable_prefix_caching": False,
            "enable_chunked_prefill": False,
            "max_num_batched_tokens": max(served.context_tokens, _LEAST_BATCH_TOKENS),
        }
    else:
        ours["gpu_memory_utilization"] = GPU_MEMORY_SHARE
        ours["kv_cache_dtype"] = "fp8" if gpus.has_fp8 and options.precision == "auto" else "auto"
    return {name: value for name, value in ours.items() if name in known} | options.arguments


def check_exact(options: VllmOptions, *, on_processor: bool, recurrent: bool) -> None:
    """Raises `StartupError` if an exact engine is asked for, and vLLM cannot be one with this model."""
    if options.exact and on_processor:
        raise StartupError(
            "vLLM for processors has no exact mode. With precision f32, tokens do not depend on what else "
            "runs."
        )
    if options.exact and recurrent:
        raise StartupError(
            "vLLM has no exact mode for models with recurrent layers, such as Qwen3.6: leave out exact."
        )


def drafts(options: VllmOptions) -> bool:
    """Whether tokens are drafted, by our setting or by an argument of the operator's."""
    return options.speculative == "mtp" or any(name in options.arguments for name in _DRAFTING)


def _check_drafts(options: VllmOptions) -> None:
    if drafts(options) and options.arguments.get("enable_prefix_caching"):
        raise StartupError(
            "engine_options contains enable_prefix_caching = true, which cannot be combined with speculative "
            "decoding: together they are reported to give wrong tokens."
        )


def check_names(arguments: Mapping[str, object], known: frozenset[str]) -> None:
    """Raises `StartupError` for the first argument that cannot be set."""
    for name in arguments:
        if name in _OURS:
            raise StartupError(f"engine_options cannot contain {name}, which Tessera sets itself.")
        if name not in known:
            close = difflib.get_close_matches(name, sorted(known), n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise StartupError(f"engine_options contains {name}, which vLLM does not know{hint}.")


def environment(options: VllmOptions, *, on_processor: bool, n_cores: int) -> dict[str, str]:
    """The variables that vLLM reads when it is imported."""
    chosen = {
        "HOME": options.home,
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "LLGUIDANCE_LOG_LEVEL": "0",  # its messages quote grammars
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    }
    if on_processor:
        chosen |= {
            "OMP_NUM_THREADS": str(options.threads or n_cores),
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_CPU_KVCACHE_SPACE": str(max(1, options.kv_cache_bytes // 2**30)),
            # The first request with logprobs would compile for a minute.
            "TORCHDYNAMO_DISABLE": "1",
        }
    elif options.exact:
        chosen["VLLM_BATCH_INVARIANT"] = "1"
    return chosen
