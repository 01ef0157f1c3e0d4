import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from tessera.core.generation import EngineInfo
from tessera.engine.vllm.api import Accelerators
from tessera.engine.vllm.arguments import engine_arguments
from tessera.engine.vllm.config import VllmOptions
from tessera.engine.vllm.fitting import check_fits, needs_of, room_of
from tessera.engine.vllm.footprint import HfFootprint
from tessera.errors import StartupError

GIB = 2**30
FP8 = HfFootprint(34 * GIB, 2 * GIB, GIB, kv_values=10_240, kv_heads=2, state_bytes=61 * 2**20)
HALF = dataclasses.replace(FP8, weights_bytes=65 * GIB)
OPTIONS = VllmOptions("model", "home")
KNOWN = frozenset(
    (
        "gpu_memory_utilization",
        "kv_cache_dtype",
        "enable_prefix_caching",
        "tensor_parallel_size",
        "data_parallel_size",
    )
)


def gpus(n: int = 1, gib: float = 80, *, has_fp8: bool = True) -> Accelerators:
    return Accelerators("GPU", n, int(gib * GIB), has_fp8)


def check(
    model: HfFootprint,
    found: Accelerators,
    *,
    n_sequences: int = 64,
    n_tokens: int = 262_144,
    **arguments: Any,
) -> None:
    served = EngineInfo("m", n_tokens, 248_320, frozenset({1}), max_sequences=n_sequences)
    options = dataclasses.replace(OPTIONS, arguments=arguments)
    check_fits(model, options, served, engine_arguments(options, served, found, KNOWN), found)


def test_what_fits_is_accepted() -> None:
    check(FP8, gpus())
    check(HALF, gpus(gib=141))
    check(HALF, gpus(2), tensor_parallel_size=2)


def test_too_many_sequences_are_refused_with_the_number_that_fits() -> None:
    with pytest.raises(StartupError, match="It fits with max_sequences at") as refused:
        check(FP8, gpus(gib=48))
    n_fitting = int(re.findall(r"max_sequences at (\d+)", refused.value.message)[0])
    check(FP8, gpus(gib=48), n_sequences=n_fitting)
    with pytest.raises(StartupError):
        check(FP8, gpus(gib=48), n_sequences=n_fitting + 1)


def test_too_long_a_context_is_refused_with_the_length_that_fits() -> None:
    small = gpus(gib=43)
    with pytest.raises(StartupError, match="context_tokens at") as refused:
        check(FP8, small, n_sequences=8)
    n_fitting = int(re.findall(r"context_tokens at (\d+)", refused.value.message)[0])
    check(FP8, small, n_sequences=8, n_tokens=n_fitting)
    with pytest.raises(StartupError):
        check(FP8, small, n_sequences=8, n_tokens=n_fitting + 1)


def test_weights_that_are_too_large_need_more_gpus_or_another_checkpoint() -> None:
    with pytest.raises(StartupError, match="tensor_parallel_size = 2 in engine_options"):
        check(HALF, gpus())
    huge = dataclasses.replace(FP8, weights_bytes=2000 * GIB)
    with pytest.raises(StartupError, match="A checkpoint with fewer bytes is needed"):
        check(huge, gpus())


def test_more_gpus_than_there_are_are_refused() -> None:
    with pytest.raises(StartupError, match="ask for 4 GPUs, and there are 2"):
        check(FP8, gpus(2), tensor_parallel_size=2, data_parallel_size=2)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gpu_memory_utilization", "much"),
        ("gpu_memory_utilization", 0),
        ("gpu_memory_utilization", 92),
        ("tensor_parallel_size", "2"),
        ("data_parallel_size", 0),
    ],
)
def test_a_number_that_cannot_be_is_refused(name: str, value: Any) -> None:
    with pytest.raises(StartupError, match=f"{name} in engine_options is {value!r}: a .*number"):
        check(FP8, gpus(8), **{name: value})


def test_the_layers_that_draft_count_however_drafts_are_asked_for() -> None:
    for options in (
        dataclasses.replace(OPTIONS, speculative="mtp"),
        dataclasses.replace(OPTIONS, arguments={"speculative_config": {"method": "mtp"}}),
    ):
        assert needs_of(FP8, options, {}, 1).weights == FP8.weights_bytes + FP8.draft_bytes


def test_more_gpus_than_heads_hold_copies_of_keys_and_values() -> None:
    arguments = {"kv_cache_dtype": "fp8"}
    assert needs_of(FP8, OPTIONS, arguments, 2).token == 10_240
    assert needs_of(FP8, OPTIONS, arguments, 4).token == 20_480


def test_without_shared_prefixes_a_sequence_has_one_state() -> None:
    assert needs_of(FP8, OPTIONS, {"enable_prefix_caching": False}, 1).state == FP8.state_bytes


PAGE = (Path(__file__).parents[4] / "docs/en/gpu.md").read_text()
ROWS = [
    row
    for line in PAGE.splitlines()
    if (
        row := re.fullmatch(
            r"\| (\d) × (\d+) GB.*? \| (FP8|16 bits) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|", line
        )
    )
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][2:24])
def test_the_table_of_cards_follows_from_the_formula(row: re.Match[str]) -> None:
    n_gpus, gib, n_sequences, n_tokens, n_held = (int(row[i].replace(",", "")) for i in (1, 2, 4, 5, 6))
    has_fp8 = any(card in row[0] for card in ("H100", "H200"))
    model, found = HALF if row[3] == "16 bits" else FP8, gpus(n_gpus, gib, has_fp8=has_fp8)
    served = EngineInfo("m", n_tokens, 248_320, frozenset({1}), max_sequences=n_sequences)
    options = dataclasses.replace(OPTIONS, arguments={"tensor_parallel_size": n_gpus})
    arguments = engine_arguments(options, served, found, KNOWN)
    check_fits(model, options, served, arguments, found)
    needs = needs_of(model, options, arguments, n_gpus)
    left = room_of(found, arguments, n_gpus) - needs.total(n_sequences, 0)
    assert n_held == left // needs.token // 1000 * 1000


def test_the_table_of_cards_has_rows() -> None:
    assert len(ROWS) >= 7
