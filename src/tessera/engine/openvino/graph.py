"""The model as one function: token batches with paged keys and values in, logits out.

The stateful graph of the model folder becomes a paged one: attention reads and writes blocks of a cache
that we own (`paged_attention_transformation`), and the last MatMul is computed only for the positions that
are sampled.

The kernels sum in another order, or quantise otherwise, where there is one row only: in a pass of a single
row, in attention where a span has a single token, and in f32 in the last MatMul. Everywhere else a row does
not depend on what else is in the pass, to the last bit (`tests/live/test_reproducible.py`). So spans of two
tokens and more are reproducible: however a prompt is cut, whatever runs beside it, and whether the tokens
before were computed by this sequence or by another one.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# (OpenVINO's own type stubs are partial.)

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops
from openvino._offline_transformations import paged_attention_transformation

from tessera.engine.batch.blocks import BLOCK_TOKENS
from tessera.engine.openvino.fusion import fuse_matmuls

if TYPE_CHECKING:
    from openvino import Model, Node

Precision = Literal["auto", "f32"]

# Measured on AVX-512 without AMX: f32 activations, quantised to 8 bits in groups of 32 before each
# compressed matmul, are the fastest of all combinations at 1 and at 16 rows. A cache of 16 bits is read
# faster than one of 8, which must be scaled back, by a tenth of a step at 100 tokens and a third at 4,000,
# and what a rejected draft wrote into it leaves no trace. Threads that are pinned to cores wait there for
# whoever else runs on them. "f32" is for exact comparisons.
PROPERTIES: dict[Precision, dict[str, str]] = {
    "auto": {
        "INFERENCE_PRECISION_HINT": "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": "32",
        "KV_CACHE_PRECISION": "f16",
    },
    "f32": {
        "INFERENCE_PRECISION_HINT": "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
        "KV_CACHE_PRECISION": "f32",
    },
}


# Kernels are made, and kept, for every number of rows that a pass has: a megabyte and more for each with a
# small model. Larger passes are filled up to a multiple of so many rows, so that they are soon all there.
_FEW_ROWS, _ROW_STEP = 64, 16

# Of so many kinds of kernels the oldest go, which bounds what is kept whatever passes there are.
_KEPT_KERNELS = 200


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """Consecutive new tokens of one sequence: `n_past` tokens are in `blocks` already, the new ones go
    there too.

    The logits after each of the last `n_sampled` tokens are wanted.
    """

    token_ids: Sequence[int]
    n_past: int
    blocks: Sequence[int]
    n_sampled: int


class PagedGraph:
    """A compiled model and its cache of `n_blocks` blocks. Not thread-safe: one `run` at a time."""

    def __init__(self, model_xml: Path, *, precision: Precision, threads: int, kv_cache_bytes: int) -> None:
        """Loads and compiles (seconds). `threads` 0 means all cores."""
        properties = {
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": "NO",
            "CPU_RUNTIME_CACHE_CAPACITY": str(_KEPT_KERNELS),
            **PROPERTIES[precision],
        }
        if threads:
            properties["INFERENCE_NUM_THREADS"] = str(threads)
        compiled = ov.Core().compile_model(_paged_model(model_xml), "CPU", properties)
        self._request = compiled.create_infer_request()
        self._least_sampled = 2 if precision == "f32" else 1
        caches = [
            port for port in compiled.inputs if port.any_name.startswith(("key_cache.", "value_cache."))
        ]
        shapes = {port.any_name: [d.get_length() for d in list(port.partial_shape)[1:]] for port in caches}
        block_bytes = sum(int(np.prod(shapes[port.any_name])) * port.element_type.size for port in caches)
        self.n_blocks = max(0, kv_cache_bytes // block_bytes - 1)
        self.block_bytes = block_bytes
        self.vocabulary_size: int = compiled.outputs[0].partial_shape[-1].get_length()
        self._caches: list[NDArray[np.generic]] = []
        for port in caches:
            # One more block, which belongs to no sequence, takes the rows that fill a pass up.
            tensor = ov.Tensor(port.element_type, ov.Shape([self.n_blocks + 1, *shapes[port.any_name]]))
            self._request.set_tensor(port.any_name, tensor)
            self._caches.append(tensor.data)

    def start(self, spans: Sequence[TokenSpan]) -> None:
        """Begins a forward pass, which goes on in other threads until `logits`."""
        n_rows = sum(len(span.token_ids) for span in spans)
        filling = TokenSpan([0] * (padded(n_rows) - n_rows), 0, [self.n_blocks], n_sampled=0)
        filled = [*spans, filling] if filling.token_ids else spans
        for name, value in _inputs(filled, self._least_sampled).items():
            self._request.set_tensor(name, ov.Tensor(value))
        self._request.start_async()

    def logits(self) -> NDArray[np.float32]:
        """Of the pass that was started: [sampled tokens, vocabulary], valid until the next one."""
        self._request.wait()
        return self._request.get_output_tensor(0).data.reshape(-1, self.vocabulary_size)

    def warm(self, n_tokens: int) -> None:
        """Makes the kernels for a pass of so many tokens, each of its own sequence."""
        self.start([TokenSpan([0], 0, [self.n_blocks], n_sampled=1)] * n_tokens)
        self.logits()

    def copy_block(self, source: int, target: int) -> None:
        """Copies the keys and values of one block, in every layer."""
        for cache in self._caches:
            cache[target] = cache[source]


def padded(n_rows: int) -> int:
    """The rows that are computed for so many, which are at least as many."""
    return n_rows if n_rows <= _FEW_ROWS else -(-n_rows // _ROW_STEP) * _ROW_STEP


def _paged_model(model_xml: Path) -> "Model":
    model = ov.Core().read_model(model_xml)
    fuse_matmuls(model)
    paged_attention_transformation(model)
    head = _output_head(model)
    rows = ops.parameter([-1], np.int64, name="sampled")
    rows.output(0).set_names({"sampled"})
    gathered = ops.gather(head.input_value(0), rows, ops.constant(np.int64(0)))
    head.input(0).replace_source_output(gathered.output(0))
    model.add_parameters([rows])
    model.validate_nodes_and_infer_types()
    return model


def _output_head(model: "Model") -> "Node":
    """The last MatMul: hidden states [tokens, 1, hidden] → logits."""
    node = model.get_results()[0].input_value(0).get_node()
    while node.get_type_name() != "MatMul":
        node = node.input_value(0).get_node()
    return node


def _inputs(
    spans: Sequence[TokenSpan], least_sampled: int
) -> dict[str, NDArray[np.int64] | NDArray[np.int32]]:
    token_ids: list[int] = []
    positions: list[int] = []
    past: list[int] = []
    begins = [0]
    blocks: list[int] = []
    block_begins = [0]
    rows: list[int] = []
    longest = 0
    for span in spans:
        length = span.n_past + len(span.token_ids)
        token_ids += span.token_ids
        positions += range(span.n_past, length)
        past.append(span.n_past)
        begins.append(len(token_ids))
        blocks += span.blocks[: -(-length // BLOCK_TOKENS)]
        block_begins.append(len(blocks))
        longest = max(longest, length)
        rows += range(len(token_ids) - span.n_sampled, len(token_ids))
    if len(rows) == 1:
        rows *= least_sampled
    return {
        "input_ids": np.array(token_ids, np.int64),
        "position_ids": np.array(positions, np.int64),
        "sampled": np.array(rows, np.int64),
        "past_lens": np.array(past, np.int32),
        "subsequence_begins": np.array(begins, np.int32),
        "block_indices": np.array(blocks, np.int32),
        "block_indices_begins": np.array(block_begins, np.int32),
        "max_context_len": np.array(longest, np.int32),
    }
