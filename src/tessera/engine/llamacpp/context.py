"""A loaded model, and contexts of it: cells, and passes over them."""

import ctypes as c
import logging
import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tessera.engine.llamacpp.api import PARTIAL_ONLY, LlamaApi
from tessera.engine.llamacpp.complaints import complaint, failed_pass
from tessera.engine.llamacpp.layouts import Batch
from tessera.errors import StartupError
from tessera.models.layers import KvType

_logger = logging.getLogger(__name__)

_TYPES: dict[KvType, int] = {"f16": 1, "q8_0": 8}
_ON = 1

CELL_STEP = 256
"""llama.cpp rounds the number of cells of a sequence up to a multiple of this."""


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive tokens of the sequence `id`, which has the cells of all `n_past` before them.

    The logits after each of the last `n_sampled` tokens are wanted.
    """

    id: int
    n_past: int
    token_ids: Sequence[int]
    n_sampled: int


_WHAT_WORKS = (
    "The library reads the architectures and quantisations that its version knows: a newer one may know more "
    "(tessera engines install llamacpp). llama, qwen3, qwen35 and qwen35moe were tried."
)


class LlamaModel:
    """The weights, loaded; all their memory is shared by the contexts."""

    def __init__(self, api: LlamaApi, paths: Sequence[Path], params: Mapping[str, object]) -> None:
        """`params` are fields of `llama_model_params`. Raises `StartupError`."""
        self.api = api
        wanted = api.llama_model_default_params()
        for name, value in params.items():
            setattr(wanted, name, value)
        texts = (c.c_char_p * len(paths))(*(str(path).encode() for path in paths))
        api.complaints = []
        self.handle = api.llama_model_load_from_splits(texts, len(paths), wanted)
        if not self.handle:
            raise StartupError(f"llama.cpp cannot load {paths[0]}: {complaint(api)} {_WHAT_WORKS}")
        if api.llama_model_has_encoder(self.handle):
            raise StartupError(f"{paths[0]} is a model with an encoder, which cannot be served.")
        self.has_states: bool = api.llama_model_is_hybrid(self.handle) or api.llama_model_is_recurrent(
            self.handle
        )
        self.has_windows: bool = api.llama_model_n_swa(self.handle) > 0
        self.vocabulary_size: int = api.llama_vocab_n_tokens(api.llama_model_get_vocab(self.handle))


@dataclass(frozen=True, slots=True)
class ContextParams:
    """The sizes of a context. `n_cells` are all of them; in an `exact` context each id has an equal share.

    `n_tokens` is the most of a pass, `n_at_once` of what is computed together, `n_sampled` of its rows of
    logits.
    """

    n_cells: int
    n_ids: int
    n_tokens: int
    n_at_once: int
    n_sampled: int
    threads: int
    kv_type: KvType
    exact: bool = False


class Cells(Protocol):
    """The memory of a context."""

    def copy(self, source: int, target: int, start: int = -1, end: int = -1) -> None:
        """The cells of `source` in this range of positions belong to `target`, too; -1 is no bound.

        The recurrent state is that of the whole sequence, whatever the range.
        """
        ...

    def remove(self, id: int, start: int = -1, end: int = -1) -> None:
        """The cells in this range of positions do not belong to the id any more."""
        ...

    def state(self, id: int) -> mmap.mmap:
        """A copy of the recurrent state of a sequence."""
        ...

    def set_state(self, id: int, state: mmap.mmap) -> None:
        """Gives a sequence, which has the cells for it, a state that was copied."""
        ...


class Context:
    """A `Cells`, and the buffers of a pass. Not thread-safe: one call at a time."""

    def __init__(self, model: LlamaModel, params: ContextParams) -> None:
        """Raises `StartupError` if there is not enough memory."""
        self.model, self.params = model, params
        self._api = api = model.api
        wanted = api.llama_context_default_params()
        fields = {
            "n_ctx": params.n_cells,
            "n_batch": params.n_tokens,
            "n_ubatch": min(params.n_at_once, params.n_tokens),
            "n_seq_max": params.n_ids,
            # llama.cpp ends the process where it has fewer rows than ids.
            "n_outputs_max": max(params.n_sampled, params.n_ids),
            "n_outputs_max_per_seq": 0,
            "n_threads": params.threads,
            "n_threads_batch": params.threads,
            "flash_attn_type": _ON,
            "type_k": _TYPES[params.kv_type],
            "type_v": _TYPES[params.kv_type],
            "kv_unified": not params.exact,
            "swa_full": True,
        }
        for name, value in fields.items():
            setattr(wanted, name, value)
        api.complaints = []
        self._handle = api.llama_init_from_model(model.handle, wanted)
        if not self._handle:
            raise StartupError(
                f"llama.cpp cannot make a context of {params.n_cells} tokens: {complaint(api)}"
            )
        each = params.n_cells // params.n_ids if params.exact else params.n_cells
        if (given := api.llama_n_ctx_seq(self._handle)) != each:
            # The defaults of some fields are alike, so that their order is only seen here.
            raise StartupError(
                f"llama.cpp {api.version} gives a sequence {given} tokens instead of {each}: the layout of "
                "llama_context_params is another than it seemed."
            )
        self._memory = api.llama_get_memory(self._handle)
        self._tokens = _TokenArrays(params.n_tokens)

    def run(self, spans: Sequence[Span]) -> NDArray[np.float32]:
        """Computes a pass: [sampled tokens, vocabulary], a view that is valid until the next one.

        Raises `PassRefused`, or `RuntimeError` if it is not known what was computed.
        """
        n_sampled = sum(span.n_sampled for span in spans)
        n_tokens = sum(len(span.token_ids) for span in spans)
        assert n_tokens <= self.params.n_tokens, "llama.cpp would end the process"
        self._api.complaints = []
        code = self._api.llama_decode(self._handle, self._tokens.fill(spans))
        if code:
            error = failed_pass(code)
            # The log of an exception has no message; this one has nothing of a client's.
            sizes = ", ".join(f"{len(span.token_ids)} after {span.n_past}" for span in spans)
            _logger.error("%s, in a pass of %s tokens; %s", error, sizes, complaint(self._api))
            raise error
        width = self.model.vocabulary_size
        if not n_sampled:
            return np.empty((0, width), np.float32)
        buffer = (c.c_float * (n_sampled * width)).from_address(self._api.llama_get_logits(self._handle))
        return np.ctypeslib.as_array(buffer).reshape(n_sampled, width)

    def copy(self, source: int, target: int, start: int = -1, end: int = -1) -> None:
        self._api.llama_memory_seq_cp(self._memory, source, target, start, end)

    def remove(self, id: int, start: int = -1, end: int = -1) -> None:
        if not self._api.llama_memory_seq_rm(self._memory, id, start, end):
            raise RuntimeError(f"llama.cpp cannot remove {start} to {end} of a sequence")

    def state(self, id: int) -> mmap.mmap:
        n_bytes = self.state_bytes(id)
        state = mmap.mmap(-1, n_bytes)  # beside the heap, whose growth counts as that of grammars
        at = c.addressof(c.c_char.from_buffer(state))
        written = self._api.llama_state_seq_get_data_ext(self._handle, at, n_bytes, id, PARTIAL_ONLY)
        if written != n_bytes:
            raise RuntimeError(f"llama.cpp gave {written} of {n_bytes} bytes of a state")
        return state

    def set_state(self, id: int, state: mmap.mmap) -> None:
        at = c.addressof(c.c_char.from_buffer(state))
        if not self._api.llama_state_seq_set_data_ext(self._handle, at, len(state), id, PARTIAL_ONLY):
            raise RuntimeError("llama.cpp did not take a state back")

    def state_bytes(self, id: int, *, whole: bool = False) -> int:
        """The size of the recurrent state of a sequence; with `whole`, that of its cells as well."""
        return self._api.llama_state_seq_get_size_ext(self._handle, id, 0 if whole else PARTIAL_ONLY)

    def close(self) -> None:
        self._api.llama_free(self._handle)


class _TokenArrays:
    """The arrays of one pass, made once: tokens, positions, ids, and whether logits are wanted."""

    def __init__(self, n_tokens: int) -> None:
        self._tokens = np.zeros(n_tokens, np.int32)
        self._positions = np.zeros(n_tokens, np.int32)
        self._ids = np.zeros(n_tokens, np.int32)
        self._n_ids = np.ones(n_tokens, np.int32)
        self._sampled = np.zeros(n_tokens, np.int8)
        self._id_pointers = self._ids.ctypes.data + self._ids.itemsize * np.arange(n_tokens, dtype=np.uint64)
        self._batch = Batch(
            n_tokens=0,
            token=self._tokens.ctypes.data,
            embd=None,
            pos=self._positions.ctypes.data,
            n_seq_id=self._n_ids.ctypes.data,
            seq_id=self._id_pointers.ctypes.data,
            logits=self._sampled.ctypes.data,
        )

    def fill(self, spans: Sequence[Span]) -> c.Structure:
        """The `llama_batch` of these spans, valid until the next call."""
        begin = 0
        for span in spans:
            n_tokens = len(span.token_ids)
            end = begin + n_tokens
            self._tokens[begin:end] = span.token_ids
            self._positions[begin:end] = np.arange(span.n_past, span.n_past + n_tokens)
            self._ids[begin:end] = span.id
            self._sampled[begin:end] = 0
            self._sampled[end - span.n_sampled : end] = 1
            begin = end
        self._batch.n_tokens = begin
        return self._batch
