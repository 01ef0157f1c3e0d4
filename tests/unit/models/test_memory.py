"""What a model needs, and what follows for its pace, from headers that have the shapes of real ones."""

from dataclasses import replace

import pytest
from tests.unit.models.headers import header

from tessera.errors import ModelError
from tessera.models.layers import Layer, ModelLayers
from tessera.models.machine import Machine, tokens_per_s
from tessera.models.memory import Budget, ModelNeeds, check_fits, measure_needs

DENSE = {"token_embd.weight": 1000, "blk.0.ffn_up.weight": 500, "blk.1.ffn_up.weight": 500}
SHAPE = {"block_count": 2, "embedding_length": 64, "attention__head_count": 4, "context_length": 8192}


def test_a_dense_model_reads_its_weights_and_all_keys_and_values() -> None:
    needs = measure_needs([header("llama", DENSE, **SHAPE, attention__head_count_kv=2)])
    assert needs.others_read(10, "f16") == 4000 + 10 * 2 * 2 * (16 + 16) * 2
    assert needs.others_read(10, "q8_0") - 4000 == (needs.others_read(10, "f16") - 4000) * 34 / 64
    assert (needs.experts_read(), needs.context_tokens) == (0, 8192)


def test_embeddings_that_are_looked_up_are_not_read() -> None:
    needs = measure_needs([header("llama", DENSE | {"output.weight": 1000}, **SHAPE)])
    assert (needs.model.weight_bytes, needs.others_read(0, "f16")) == (6000, 4000)


def test_of_experts_the_chosen_share_is_read() -> None:
    experts = {"blk.0.ffn_up_exps.weight": 8000, "blk.0.ffn_up_shexp.weight": 100}
    needs = measure_needs([header("qwen3moe", experts, **SHAPE, expert_count=8, expert_used_count=2)])
    assert (needs.experts_read(), needs.others_read(0, "f16")) == (4000, 200)


def test_states_are_read_and_written() -> None:
    model = ModelLayers((Layer(100, state_values=5),), other_bytes=0)
    assert ModelNeeds(model, 1.0, 8192).others_read(1000, "f16") == 100 + 2 * 5 * 4


def test_layers_with_a_window_read_the_tokens_in_it() -> None:
    needs = measure_needs(
        [header("gemma3", {}, **(SHAPE | {"block_count": 6, "attention__sliding_window": 100}))]
    )
    per_layer = 4 * 32 * 2
    assert needs.model.cell_bytes("f16") == 6 * per_layer
    assert needs.others_read(1000, "f16") == 5 * 100 * per_layer + 1000 * per_layer
    assert needs.others_read(50, "f16") == 6 * 50 * per_layer


GIB = 2**30
MODEL = ModelLayers((Layer(16 * GIB, 16 * GIB, kv_values=1024),), other_bytes=4 * GIB)
NEEDS = ModelNeeds(MODEL, 0.25, 8192)


def test_what_fits_is_not_refused() -> None:
    check_fits("m", NEEDS, Budget(22 * GIB, GIB), {})


@pytest.mark.parametrize(
    ("budget", "others", "message"),
    [
        (
            Budget(21 * GIB, GIB, GIB),
            {"Q3": 15 * GIB, "Q2": 9 * GIB, "Q8": 40 * GIB},
            "Q3 would fit, as would Q2.",
        ),
        (Budget(21 * GIB, GIB), {}, "It would fit with 0.5 GiB or less for kv_cache_bytes"),
        (Budget(8 * GIB, GIB), {"Q8": 40 * GIB}, "A model or a quantisation with fewer bytes is needed."),
    ],
)
def test_what_does_not_fit_is_refused_and_what_would_is_named(
    budget: Budget, others: dict[str, int], message: str
) -> None:
    with pytest.raises(ModelError, match=message) as refused:
        check_fits("m:Q4", NEEDS, budget, others)
    assert refused.value.message.startswith("m:Q4 needs 21.5 GiB of memory (20.0 GiB of weights)")


def test_the_memory_of_gpus_counts() -> None:
    check_fits("m", NEEDS, Budget(8 * GIB, GIB, gpu_bytes=14 * GIB), {})
    with pytest.raises(ModelError, match=r"machine has 20\.0 GiB, 12\.0 GiB of it on GPUs\."):
        check_fits("m", NEEDS, Budget(8 * GIB, GIB, gpu_bytes=12 * GIB), {})


def test_states_count_for_hybrid_models_only() -> None:
    assert NEEDS.memory_bytes(GIB, GIB) == int(21.5 * GIB)
    hybrid = replace(NEEDS, model=replace(MODEL, layers=(*MODEL.layers, Layer(0, state_values=1))))
    assert hybrid.memory_bytes(GIB, GIB) == int(22.5 * GIB)


def test_the_pace_is_what_the_memory_gives() -> None:
    assert tokens_per_s(NEEDS, Machine(0, 80 * GIB), 0, "f16") == pytest.approx(10)


def test_experts_that_a_gpu_does_not_hold_are_read_from_the_processors_memory() -> None:
    def seconds(gpu_memory_bytes: int) -> float:
        machine = Machine(32 * GIB, 80 * GIB, gpu_memory_bytes, 400 * GIB)
        return 1 / tokens_per_s(NEEDS, machine, 0, "f16")

    # 4 GiB of a token's 8 are not of experts.
    assert seconds(40 * GIB) == pytest.approx(8 / 400)
    assert seconds(12 * GIB) == pytest.approx(6 / 400 + 2 / 80)
    assert seconds(2 * GIB) == pytest.approx(2 / 400 + 6 / 80)
