"""What layers take, from headers that have the shapes of real ones; `tests/live` asks llama.cpp the same."""

from typing import Any

from tests.unit.models.headers import header

from tessera.models.layers import Layer, read_layers

SHAPE: dict[str, Any] = {"block_count": 2, "embedding_length": 64, "attention__head_count": 4}
DENSE = {"token_embd.weight": 1000, "blk.0.ffn_up.weight": 500, "blk.1.ffn_up.weight": 600}


def test_all_heads_have_keys_and_values_if_the_file_says_nothing_else() -> None:
    model = read_layers([header("llama", DENSE, **SHAPE)])
    assert model.layers == (Layer(1000, kv_values=4 * 32), Layer(1200, kv_values=4 * 32))
    assert (model.other_bytes, model.table_bytes, model.weight_bytes) == (2000, 0, 4200)


def test_grouped_heads_share_keys_and_values() -> None:
    (layer, _) = read_layers([header("llama", DENSE, **SHAPE, attention__head_count_kv=2)]).layers
    assert layer.kv_values == 2 * 32
    assert (layer.cell_bytes("f16"), layer.cell_bytes("q8_0")) == (2 * 64, 68)


def test_embeddings_are_a_table_unless_they_are_the_output_layer_as_well() -> None:
    assert read_layers([header("llama", DENSE | {"output.weight": 1}, **SHAPE)]).table_bytes == 2000
    assert read_layers([header("llama", DENSE, **SHAPE)]).table_bytes == 0


def test_of_latent_attention_a_token_keeps_one_key_and_no_value() -> None:
    latent = {"kv_lora_rank": 512, "key_length": 576, "value_length": 512, "head_count_kv": 1}
    fields = {f"attention__{key}": value for key, value in latent.items()}
    model = read_layers([header("deepseek2", {}, **SHAPE, **fields, attention__key_length_mla=192)])
    assert [layer.kv_values for layer in model.layers] == [576, 576]
    older = read_layers([header("deepseek2", {}, **SHAPE, **fields)])
    assert [layer.kv_values for layer in older.layers] == [576 + 512] * 2


QWEN_35B = {
    **{"block_count": 40, "embedding_length": 2048, "attention__head_count": 16},
    **{"attention__head_count_kv": 2, "attention__key_length": 256, "attention__value_length": 256},
    **{"ssm__inner_size": 4096, "ssm__state_size": 128, "ssm__group_count": 16, "ssm__conv_kernel": 4},
}


def test_of_qwen_35b_every_fourth_layer_attends_and_the_others_have_states() -> None:
    tensors = {f"blk.{layer}.{'attn_k.weight' if layer % 4 == 3 else 'ssm_a'}": 10 for layer in range(40)}
    model = read_layers([header("qwen35moe", tensors, **QWEN_35B)])
    recurrent, attending = Layer(20, state_values=128 * 4096 + 3 * 8192), Layer(20, kv_values=2 * 512)
    assert model.layers == (recurrent, recurrent, recurrent, attending) * 10
    assert model.state_bytes == 30 * 4 * (128 * 4096 + 3 * 8192)
    assert model.cell_bytes("f16") == 10 * 2 * 512 * 2


def test_a_layer_may_attend_and_have_a_state() -> None:
    tensors = {"blk.0.attn_k.weight": 1, "blk.0.ssm_in.weight": 1, "blk.1.ssm_in.weight": 1}
    both, one = read_layers([header("falcon-h1", tensors, **QWEN_35B | SHAPE)]).layers
    assert both.kv_values
    assert not one.kv_values
    assert both.state_values == one.state_values > 0


def test_a_file_may_name_the_heads_of_each_layer() -> None:
    tensors = {"blk.0.shortconv.conv.weight": 1, "blk.1.attn_k.weight": 1}
    fields = {"attention__head_count_kv": [0, 2], "shortconv__l_cache": 3}
    first, second = read_layers([header("lfm2", tensors, **SHAPE, **fields)]).layers
    assert (first.kv_values, first.state_values) == (0, 2 * 64)
    assert (second.kv_values, second.state_values) == (2 * 32, 0)


def test_linear_attention_with_a_head_size_of_its_own() -> None:
    tensors = {"blk.0.ssm_a": 1, "blk.0.attn_k.weight": 1, "blk.1.attn_kv_a_mqa.weight": 1}
    fields = {"attention__head_count_kv": [0, 1], "kda__head_dim": 8, "ssm__conv_kernel": 4}
    first, second = read_layers([header("kimi-linear", tensors, **SHAPE, **fields)]).layers
    assert (first.kv_values, first.state_values) == (0, 4 * (3 * 3 * 8 + 64))
    assert (second.kv_values, second.state_values) == (32, 0)


def test_rwkv_has_states_only() -> None:
    tensors = {"blk.0.time_mix_first.weight": 1}
    fields = {"block_count": 1, "embedding_length": 64, "wkv__head_size": 16}
    (layer,) = read_layers([header("rwkv6", tensors, **fields)]).layers
    assert (layer.kv_values, layer.state_values) == (0, 64 * (2 + 16))


def test_windows_come_by_the_pattern_of_the_file_or_of_the_architecture() -> None:
    def windows(architecture: str, **fields: object) -> list[int]:
        shape = SHAPE | {"block_count": 6, "attention__sliding_window": 100} | fields
        return [layer.window for layer in read_layers([header(architecture, {}, **shape)]).layers]

    assert windows("gemma3") == [100] * 5 + [0]
    assert windows("gpt-oss") == [100, 0] * 3
    assert windows("llama") == [0] * 6
    assert windows("gemma3", attention__sliding_window_pattern=3) == [100, 100, 0] * 2
    assert windows("gemma4", attention__sliding_window_pattern=[True, False] * 3) == [100, 0] * 3


def test_layers_with_a_window_may_have_heads_of_another_width() -> None:
    fields = {
        **{"attention__sliding_window": 100, "attention__sliding_window_pattern": [True, False]},
        **{"attention__key_length": 32, "attention__value_length": 32},
        **{"attention__key_length_swa": 8, "attention__value_length_swa": 8},
    }
    layers = read_layers([header("gemma4", {}, **SHAPE, **fields)]).layers
    assert [layer.kv_values for layer in layers] == [4 * 16, 4 * 64]


def test_layers_that_look_at_keys_of_earlier_ones_keep_none() -> None:
    layers = read_layers([header("gemma4", {}, **SHAPE, attention__shared_kv_layers=1)]).layers
    assert [layer.kv_values for layer in layers] == [4 * 32, 0]


def test_layers_that_predict_further_tokens_are_not_loaded() -> None:
    model = read_layers([header("glm4moe", DENSE, **SHAPE, nextn_predict_layers=1)])
    assert (len(model.layers), model.weight_bytes) == (1, 3000)


def test_the_parts_of_a_file_are_added_up() -> None:
    first = header("llama", {}, **SHAPE)
    parts = [first, header("", {"blk.0.a.weight": 10}), header("", {"blk.1.a.weight": 20})]
    assert [layer.weight_bytes for layer in read_layers(parts).layers] == [20, 40]
