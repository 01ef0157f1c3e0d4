"""Matmuls that read the same input become one.

Queries, keys and values are three products of one vector, gate and up projection are two. One product of
all rows together, split afterwards, gives the same numbers with fewer and larger kernels: with one sequence
a step is dominated by what it costs to start a kernel on all cores.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# (OpenVINO's own type stubs are partial.)

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import Node
from openvino import opset13 as ops

if TYPE_CHECKING:
    from openvino import Model

_TRANSPOSED = {"transpose_a": False, "transpose_b": True}

# How compressed weights are written: (constant → convert − zero point) × scale, reshaped to [rows, inputs].
# The number of inputs that have rows.
_INPUTS = {"Convert": 1, "Reshape": 1, "Subtract": 2, "Multiply": 2}


def fuse_matmuls(model: "Model") -> int:
    """Fuses in place; returns the number of groups. What does not look like weights by rows is left alone."""
    n_fused = 0
    for node in model.get_ordered_ops():
        if node.get_output_size() != 1:
            continue
        readers = [port.get_node() for port in node.output(0).get_target_inputs()]
        products = [reader for reader in readers if _is_product_of(reader, node)]
        if len(products) > 1 and (weights := _stacked([each.input_value(1).get_node() for each in products])):
            _replace(node, products, weights)
            n_fused += 1
    if n_fused:
        model.validate_nodes_and_infer_types()
    return n_fused


def _is_product_of(reader: Node, node: Node) -> bool:
    """Whether it is `node` @ weights.T."""
    if reader.get_type_name() != "MatMul" or reader.get_attributes() != _TRANSPOSED:
        return False
    return reader.input_value(0).get_node().get_friendly_name() == node.get_friendly_name()


def _replace(node: Node, products: Sequence[Node], weights: Node) -> None:
    widths = [int(product.output(0).get_partial_shape()[-1].get_length()) for product in products]
    together = ops.matmul(node.output(0), weights, transpose_a=False, transpose_b=True)
    split = ops.variadic_split(together, np.int64(-1), np.array(widths, np.int64))
    for product, part in zip(products, split.outputs(), strict=True):
        for port in product.output(0).get_target_inputs():
            port.replace_source_output(part)


def _stacked(nodes: Sequence[Node]) -> Node | None:
    """The same computation over the rows of all; None if they are not computed alike from constants."""
    first = nodes[0]
    if (
        any(not node.get_output_partial_shape(0).is_static for node in nodes)
        or len(set(map(_form, nodes))) > 1
    ):
        return None
    kind = first.get_type_name()
    if kind == "Constant":
        return _concatenated(nodes)
    inputs = [
        _stacked([node.input_value(i).get_node() for node in nodes]) for i in range(_INPUTS.get(kind, 0))
    ]
    match inputs:
        case [Node() as stacked] if kind == "Convert":
            return ops.convert(stacked, first.get_output_element_type(0).get_type_name())
        case [Node() as stacked]:
            target = [sum(_shape(node)[0] for node in nodes), *_shape(first)[1:]]
            return ops.reshape(stacked, np.array(target, np.int64), special_zero=False)
        case [Node() as left, Node() as right]:
            return ops.subtract(left, right) if kind == "Subtract" else ops.multiply(left, right)
        case _:
            return None


def _form(node: Node) -> tuple[str, str, tuple[int, ...]]:
    """What nodes must have in common: all but the number of rows."""
    element = node.get_output_element_type(0).get_type_name()
    return node.get_type_name(), element, _shape(node)[1:]


def _concatenated(constants: Sequence[Node]) -> Node | None:
    """Constants of [rows, …] one below the other, as bytes: elements of 4 bits come two to a byte."""
    shapes = [_shape(each) for each in constants]
    kind = constants[0].get_output_element_type(0)
    if not shapes[0] or any(prod(shape) * kind.bitwidth % 8 for shape in shapes):
        return None
    stacked = ov.Tensor(kind, ov.Shape([sum(shape[0] for shape in shapes), *shapes[0][1:]]))
    rows: list[NDArray[np.uint8]] = [
        each.get_tensor_view().data.reshape(-1).view(np.uint8) for each in constants
    ]
    stacked.data.reshape(-1).view(np.uint8)[:] = np.concatenate(rows)
    return ops.constant(stacked)


def _shape(node: Node) -> tuple[int, ...]:
    return tuple(int(length) for length in list(node.get_output_shape(0)))
