"""What a model needs, from headers that have the shapes of real ones."""

from dataclasses import replace

import pytest

from tessera.errors import ModelError
from tessera.models.header import GgufHeader, Tensor
from tessera.models.machine import Machine, tokens_per_s
from tessera.models.memory import Budget, ModelNeeds, check_fits, measure_needs

F16 = 1


def header(architecture: str, tensors: dict[str, int], **fields: object) -> GgufHeader:
    """`tensors` have numbers of F16 values."""
    made = [Tensor(name, (n_values,), F16, 0) for name, n_values in tensors.items()]
    named = {f"{architecture}.{key.replace('__', '.')}": value for key, value in fields.items()}
    return GgufHeader({"general.architecture": architecture, **named}, tuple(made), 0)


DENSE = {"token_embd.weight": 1000, "blk.0.ffn_up.weight": 500, "blk.1.ffn_up.weight": 500}
SHAPE = {"block_count": 2, "embedding_length": 64, "attention__head_count": 4, "context_length": 8192}


def test_a_dense_model_reads_its_weights_and_all_keys_and_values() -> None:
    needs = measure_needs([header("llama", DENSE, **SHAPE, attention__head_count_kv=2)])
    assert needs.weights_bytes == 4000
    assert needs.kv_bytes("f16") == 2 * 2 * (16 + 16) * 2
    assert needs.kv_bytes("q8_0") == needs.kv_bytes("f16") * 34 / 64
    assert needs.others_read(10, "f16") == 4000 + 10 * needs.kv_bytes("f16")
    assert (needs.state_bytes, needs.experts_read(), needs.context_tokens) == (0, 0, 8192)


def test_embeddings_that_are_looked_up_are_not_read() -> None:
    needs = measure_needs([header("llama", DENSE | {"output.weight": 1000}, **SHAPE)])
    assert (needs.weights_bytes, needs.others_read(0, "f16")) == (6000, 4000)


def test_all_heads_have_keys_and_values_if_the_file_says_nothing_else() -> None:
    needs = measure_needs([header("llama", DENSE, **SHAPE)])
    assert needs.kv_values == 2 * 4 * 32


def test_of_experts_the_chosen_share_is_read() -> None:
    experts = {"blk.0.ffn_up_exps.weight": 8000, "blk.0.ffn_up_shexp.weight": 100}
    needs = measure_needs([header("qwen3moe", experts, **SHAPE, expert_count=8, expert_used_count=2)])
    assert (needs.experts_read(), needs.others_read(0, "f16")) == (4000, 200)


def test_the_states_of_qwen_35b_are_66_mb() -> None:
    ssm: dict[str, object] = {"inner_size": 4096, "state_size": 128, "group_count": 16, "conv_kernel": 4}
    fields = {f"ssm__{key}": value for key, value in ssm.items()}
    fields |= {"attention__key_length": 256, "attention__value_length": 256, "attention__head_count_kv": 2}
    needs = measure_needs([header("qwen35moe", {}, **(SHAPE | fields | {"block_count": 40}))])
    assert needs.state_bytes == 30 * (128 * 4096 + 3 * 8192) * 4
    assert needs.kv_bytes("f16") == 10 * 2 * 512 * 2


def test_a_file_may_name_the_heads_of_each_layer() -> None:
    needs = measure_needs(
        [header("lfm2", DENSE, **SHAPE, attention__head_count_kv=[0, 2], shortconv__l_cache=3)]
    )
    assert needs.kv_values == 2 * 32
    assert needs.state_bytes == 2 * 64 * 4


def test_layers_with_a_window_keep_all_tokens_and_read_those_in_the_window() -> None:
    fields = SHAPE | {"block_count": 6, "attention__sliding_window": 100}
    needs = measure_needs([header("gemma3", {}, **fields)])
    assert needs.windowed_kv_values == needs.kv_values * 5 // 6
    per_layer = needs.kv_bytes("f16") / 6
    assert needs.others_read(1000, "f16") == pytest.approx(5 * 100 * per_layer + 1000 * per_layer)


def test_layers_that_predict_further_tokens_are_not_loaded() -> None:
    needs = measure_needs([header("glm4moe", DENSE, **SHAPE, nextn_predict_layers=1)])
    assert needs.weights_bytes == 3000


def test_the_parts_of_a_file_are_added_up() -> None:
    first = header("llama", {}, **SHAPE)
    parts = [first, header("", {"blk.0.a.weight": 10}), header("", {"blk.1.a.weight": 20})]
    assert measure_needs(parts).weights_bytes == 60


GIB = 2**30
NEEDS = ModelNeeds(20 * GIB, 4 * GIB, 16 * GIB, 0.25, 1024, 0, 0, 0, 8192)


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


def test_states_count_for_hybrid_models_only() -> None:
    assert NEEDS.memory_bytes(GIB, GIB) == int(21.5 * GIB)
    assert replace(NEEDS, state_bytes=1).memory_bytes(GIB, GIB) == int(22.5 * GIB)


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
