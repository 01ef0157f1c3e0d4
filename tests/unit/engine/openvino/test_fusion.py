"""Fused products are the products."""

# pyright: reportGeneralTypeIssues=false, reportCallIssue=false
# (OpenVINO's own type stubs bind no `Model`.)

from collections.abc import Callable

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from tessera.engine.openvino.fusion import fuse_matmuls

RANDOM = np.random.default_rng(3)
INPUTS = 64


def compressed(rows: int, element: str) -> ov.Node:
    """Weights of [rows, INPUTS] in groups of 32: (quantised − zero point) × scale."""
    levels = ov.Tensor(getattr(ov.Type, element), ov.Shape([rows, 2, 32]))
    raw = levels.data.reshape(-1).view(np.uint8)
    raw[:] = RANDOM.integers(0, 256, raw.size)
    zero = ov.Tensor(getattr(ov.Type, element), ov.Shape([rows, 2, 1]))
    zero.data.reshape(-1).view(np.uint8)[:] = 3
    scale = RANDOM.random((rows, 2, 1)).astype(np.float16)
    value = ops.subtract(ops.convert(ops.constant(levels), "f16"), ops.convert(ops.constant(zero), "f16"))
    grouped = ops.multiply(value, ops.constant(scale))
    return ops.convert(ops.reshape(grouped, np.array([rows, INPUTS], np.int64), False), "f32")


def plain(rows: int, element: str) -> ov.Node:
    return ops.constant(RANDOM.random((rows, INPUTS)).astype(np.float32))


def model(*weights: ov.Node) -> ov.Model:
    tokens = ops.parameter([-1, INPUTS], np.float32)
    return ov.Model([ops.matmul(tokens, each, False, True) for each in weights], [tokens])


def outputs(model: ov.Model, tokens: np.ndarray) -> list[np.ndarray]:
    exact = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
    results = ov.Core().compile_model(model, "CPU", exact)([tokens])
    return [np.array(results[i]) for i in range(len(model.outputs))]


@pytest.mark.parametrize(("make", "element"), [(compressed, "u4"), (compressed, "u8"), (plain, "f32")])
def test_products_of_one_input_become_one_and_stay_what_they_were(
    make: Callable[[int, str], ov.Node], element: str
) -> None:
    graph = model(*(make(rows, element) for rows in (24, 8, 40)))
    tokens = RANDOM.random((5, INPUTS)).astype(np.float32)
    expected = outputs(graph, tokens)
    assert fuse_matmuls(graph) == 1
    assert sum(op.get_type_name() == "MatMul" for op in graph.get_ops()) == 1
    for before, after in zip(expected, outputs(graph, tokens), strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-4)


def test_weights_of_different_kinds_stay_apart() -> None:
    graph = model(compressed(8, "u4"), compressed(8, "u8"))
    assert fuse_matmuls(graph) == 0


def test_a_product_without_constant_weights_stays_as_it_is() -> None:
    tokens, weights = ops.parameter([-1, INPUTS], np.float32), ops.parameter([8, INPUTS], np.float32)
    both = [ops.matmul(tokens, weights, False, True), ops.matmul(tokens, plain(8, "f32"), False, True)]
    assert fuse_matmuls(ov.Model(both, [tokens, weights])) == 0
