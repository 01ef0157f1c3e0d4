from dataclasses import replace

import pytest

from tessera.core.generation import EngineInfo
from tessera.engine.vllm.api import Accelerators
from tessera.engine.vllm.arguments import check_exact, engine_arguments, environment
from tessera.engine.vllm.config import VllmOptions
from tessera.errors import StartupError

KNOWN = frozenset(
    [
        "model",
        "max_model_len",
        "max_num_seqs",
        "max_num_batched_tokens",
        "dtype",
        "seed",
        "language_model_only",
        "scheduling_policy",
        "structured_outputs_config",
        "generation_config",
        "max_logprobs",
        "disable_log_stats",
        "enable_prefix_caching",
        "enable_chunked_prefill",
        "speculative_config",
        "enforce_eager",
        "gpu_memory_utilization",
        "kv_cache_dtype",
        "tensor_parallel_size",
    ]
)
SERVED = EngineInfo("m", 4096, 300, frozenset({1}), max_sequences=7)
OPTIONS = VllmOptions("folder", "home")
HOPPER = Accelerators("H100", 1, 80 * 2**30, has_fp8=True)
AMPERE = replace(HOPPER, name="A100", has_fp8=False)


def test_the_defaults_are_those_that_this_model_needs() -> None:
    made = engine_arguments(OPTIONS, SERVED, HOPPER, KNOWN)
    assert (made["model"], made["max_model_len"], made["max_num_seqs"]) == ("folder", 4096, 7)
    assert made["language_model_only"]
    assert made["enable_prefix_caching"]
    assert made["kv_cache_dtype"] == "fp8"
    assert "speculative_config" not in made
    assert engine_arguments(OPTIONS, SERVED, AMPERE, KNOWN)["kv_cache_dtype"] == "auto"


def test_on_processors_no_prompt_is_cut() -> None:
    made = engine_arguments(OPTIONS, SERVED, None, KNOWN)
    assert made["enforce_eager"]
    assert not made["enable_chunked_prefill"]
    assert not made["enable_prefix_caching"]
    assert made["max_num_batched_tokens"] == 4096


def test_drafts_exclude_the_prefix_cache() -> None:
    made = engine_arguments(replace(OPTIONS, speculative="mtp"), SERVED, HOPPER, KNOWN)
    assert made["speculative_config"] == {"method": "mtp", "num_speculative_tokens": 2}
    assert not made["enable_prefix_caching"]


def test_the_operators_drafts_exclude_the_prefix_cache_too() -> None:
    drafting = {"speculative_config": {"method": "mtp", "num_speculative_tokens": 1}}
    made = engine_arguments(replace(OPTIONS, arguments=drafting), SERVED, HOPPER, KNOWN)
    assert made["speculative_config"] == drafting["speculative_config"]
    assert not made["enable_prefix_caching"]


@pytest.mark.parametrize(
    "asked",
    [
        replace(OPTIONS, speculative="mtp", arguments={"enable_prefix_caching": True}),
        replace(OPTIONS, arguments={"speculative_config": {"method": "mtp"}, "enable_prefix_caching": True}),
    ],
)
def test_drafts_with_the_prefix_cache_are_refused(asked: VllmOptions) -> None:
    with pytest.raises(StartupError, match="enable_prefix_caching = true, which cannot be combined"):
        engine_arguments(asked, SERVED, HOPPER, KNOWN)


def test_the_operators_arguments_win() -> None:
    options = replace(OPTIONS, arguments={"kv_cache_dtype": "auto", "tensor_parallel_size": 2})
    made = engine_arguments(options, SERVED, HOPPER, KNOWN)
    assert (made["kv_cache_dtype"], made["tensor_parallel_size"]) == ("auto", 2)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tensor_parallel_sise", r"which vLLM does not know \(did you mean tensor_parallel_size\?\)"),
        ("xyz", "which vLLM does not know"),
        ("structured_outputs_config", "which Tessera sets itself"),
        ("trust_remote_code", "which Tessera sets itself"),
        ("reasoning_parser", "which Tessera sets itself"),
        ("log_level", "which Tessera sets itself"),
        ("tokenizer", "which Tessera sets itself"),
    ],
)
def test_an_argument_that_cannot_be_set_is_named(name: str, said: str) -> None:
    with pytest.raises(StartupError, match=f"engine_options.*{name}.*{said}"):
        engine_arguments(replace(OPTIONS, arguments={name: 1}), SERVED, HOPPER, KNOWN)


def test_an_argument_of_ours_that_this_vllm_does_not_have_is_left_out() -> None:
    assert "language_model_only" not in engine_arguments(
        OPTIONS, SERVED, HOPPER, KNOWN - {"language_model_only"}
    )


@pytest.mark.parametrize(
    ("on_processor", "recurrent", "said"),
    [
        (True, False, "With precision f32"),
        (True, True, "With precision f32"),
        (False, True, "such as Qwen3.6"),
    ],
)
def test_an_exact_engine_is_refused_where_vllm_has_none(
    on_processor: bool, recurrent: bool, said: str
) -> None:
    check_exact(OPTIONS, on_processor=on_processor, recurrent=recurrent)
    with pytest.raises(StartupError, match=said):
        check_exact(replace(OPTIONS, exact=True), on_processor=on_processor, recurrent=recurrent)


def test_an_exact_engine_is_accepted_on_gpus_for_attention_alone() -> None:
    check_exact(replace(OPTIONS, exact=True), on_processor=False, recurrent=False)


def test_two_starts_have_two_seeds() -> None:
    seeds = {engine_arguments(OPTIONS, SERVED, HOPPER, KNOWN)["seed"] for _ in range(4)}
    assert len(seeds) > 1


def test_nothing_that_quotes_a_grammar_is_logged_and_nothing_is_reported() -> None:
    made = environment(OPTIONS, on_processor=False, n_cores=4)
    assert made["LLGUIDANCE_LOG_LEVEL"] == "0"
    assert (made["VLLM_NO_USAGE_STATS"], made["HF_HUB_OFFLINE"]) == ("1", "1")
    assert "VLLM_BATCH_INVARIANT" not in made
    assert (
        environment(replace(OPTIONS, exact=True), on_processor=False, n_cores=4)["VLLM_BATCH_INVARIANT"]
        == "1"
    )


def test_a_processor_is_used_with_the_threads_and_the_memory_of_the_settings() -> None:
    made = environment(replace(OPTIONS, kv_cache_bytes=5 * 2**29), on_processor=True, n_cores=4)
    assert (made["OMP_NUM_THREADS"], made["VLLM_CPU_KVCACHE_SPACE"]) == ("4", "2")
    assert environment(replace(OPTIONS, threads=2), on_processor=True, n_cores=4)["OMP_NUM_THREADS"] == "2"
