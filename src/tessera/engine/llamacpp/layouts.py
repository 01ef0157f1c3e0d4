"""The structures of llama.h that cross the border by value, in every layout that is known here.

llama.cpp promises no stable layout: fields appear in the middle of a structure from one month to the next. A
library that is read with the wrong layout loads all the same, and then computes with other settings than
those that were asked for. So before a library is used, the defaults that it gives, which are constants of
llama.cpp, must stand where a layout has them, and must be followed by what was there before.
"""

import ctypes as c
import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

Fields: TypeAlias = Sequence[tuple[str, Any]]

_ROOM_BYTES = 256
"""Behind each structure: a library whose own is longer reads and writes there."""


class Batch(c.Structure):
    """`llama_batch`: the tokens of one pass, as arrays."""

    _fields_ = [
        ("n_tokens", c.c_int32),
        ("token", c.c_void_p),
        ("embd", c.c_void_p),
        ("pos", c.c_void_p),
        ("n_seq_id", c.c_void_p),
        ("seq_id", c.c_void_p),
        ("logits", c.c_void_p),
    ]


class BufferOverride(c.Structure):
    """`llama_model_tensor_buft_override`: tensors of a name like this are put into that kind of buffer."""

    _fields_ = [("pattern", c.c_char_p), ("buffer_type", c.c_void_p)]


def _all(kind: type[Any], *names: str) -> list[tuple[str, Any]]:
    return [(name, kind) for name in names]


_MODEL = [
    *_all(c.c_void_p, "devices", "tensor_buft_overrides"),
    *_all(c.c_int32, "n_gpu_layers", "split_mode", "load_mode", "lazy_mode", "main_gpu"),
    *_all(c.c_void_p, "tensor_split", "progress_callback", "progress_callback_user_data", "kv_overrides"),
    *_all(c.c_bool, "vocab_only", "check_tensors", "use_extra_bufts", "no_host", "no_alloc", "load_mtp"),
]
_CONTEXT_HEAD = [
    *_all(c.c_uint32, "n_ctx", "n_batch", "n_ubatch", "n_seq_max"),
    *_all(c.c_uint32, "n_rs_seq", "n_outputs_max", "n_outputs_max_per_seq"),
    *_all(c.c_int32, "n_threads", "n_threads_batch", "ctx_type", "rope_scaling_type", "pooling_type"),
    *_all(c.c_int32, "attention_type", "flash_attn_type"),
    *_all(c.c_float, "rope_freq_base", "rope_freq_scale", "yarn_ext_factor", "yarn_attn_factor"),
    *_all(c.c_float, "yarn_beta_fast", "yarn_beta_slow"),
    *_all(c.c_uint32, "yarn_orig_ctx"),
    *_all(c.c_float, "defrag_thold"),
    *_all(c.c_void_p, "cb_eval", "cb_eval_user_data"),
    *_all(c.c_int32, "type_k", "type_v"),
]
_CONTEXT_TAIL = [
    *_all(c.c_void_p, "abort_callback", "abort_callback_data"),
    *_all(c.c_bool, "embeddings", "offload_kqv", "no_perf", "op_offload", "swa_full", "kv_unified"),
    *_all(c.c_void_p, "samplers"),
    *_all(c.c_size_t, "n_samplers"),
    *_all(c.c_void_p, "ctx_other"),
]

MODEL_LAYOUTS: Mapping[str, Fields] = {"2026-10": _MODEL}
CONTEXT_LAYOUTS: Mapping[str, Fields] = {
    "2026-10": [*_CONTEXT_HEAD, *_CONTEXT_TAIL],
    "2026-10, moe_cache_size": [*_CONTEXT_HEAD, ("moe_cache_size", c.c_size_t), *_CONTEXT_TAIL],
}

MODEL_DEFAULTS: Mapping[str, object] = {
    **dict.fromkeys(("devices", "tensor_buft_overrides", "tensor_split", "kv_overrides"), None),
    **{"n_gpu_layers": -1, "split_mode": 1, "load_mode": -1, "lazy_mode": 1, "main_gpu": 0},
    **{"vocab_only": False, "check_tensors": False, "use_extra_bufts": True},
    **{"no_host": False, "no_alloc": False, "load_mtp": False},
}
CONTEXT_DEFAULTS: Mapping[str, object] = {
    **{"n_ctx": 512, "n_batch": 2048, "n_ubatch": 512, "n_seq_max": 1, "n_rs_seq": 0},
    **{"n_outputs_max": 0, "n_outputs_max_per_seq": 1, "n_threads": 4, "n_threads_batch": 4, "ctx_type": 0},
    **{"rope_scaling_type": -1, "pooling_type": -1, "attention_type": -1, "flash_attn_type": -1},
    **{"rope_freq_base": 0.0, "rope_freq_scale": 0.0, "yarn_ext_factor": -1.0, "yarn_attn_factor": -1.0},
    **{"yarn_beta_fast": -1.0, "yarn_beta_slow": -1.0, "yarn_orig_ctx": 0, "defrag_thold": -1.0},
    **{"cb_eval": None, "type_k": 1, "type_v": 1, "abort_callback": None},
    **{"embeddings": False, "offload_kqv": True, "no_perf": True, "op_offload": True},
    **{"swa_full": True, "kv_unified": False, "samplers": None, "n_samplers": 0, "ctx_other": None},
}


def structure(fields: Fields) -> type[c.Structure]:
    """The structure of these fields, with room behind."""
    return type("Params", (c.Structure,), {"_fields_": [*fields, ("_room", c.c_uint8 * _ROOM_BYTES)]})


def find_layout(
    give_defaults: Callable[..., Any], layouts: Mapping[str, Fields], defaults: Mapping[str, object]
) -> type[c.Structure] | None:
    """The structure that `give_defaults`, a function of the library without arguments, returns; None if it is
    none of the `layouts`.
    """
    fitting = [fields for fields in layouts.values() if _fits(give_defaults, fields, defaults)]
    return structure(fitting[0]) if len(fitting) == 1 else None


def _fits(give_defaults: Callable[..., Any], fields: Fields, defaults: Mapping[str, object]) -> bool:
    kind = structure(fields)
    give_defaults.argtypes, give_defaults.restype = [], kind  # pyright: ignore[reportFunctionMemberAccess]
    given = give_defaults()
    if any(getattr(given, name) != value for name, value in defaults.items()):
        return False
    # Where a structure is returned through a pointer in the first argument, how much is written is seen.
    return platform.machine() != "x86_64" or _n_written(give_defaults, kind) == _size(fields)


def _n_written(give_defaults: Callable[..., Any], kind: type[c.Structure]) -> int:
    """The bytes up to the last one that the library writes, rounded up to whole words."""
    marked = (c.c_uint8 * c.sizeof(kind))(*[0xAA] * c.sizeof(kind))
    give_defaults.argtypes, give_defaults.restype = [c.c_void_p], c.c_void_p  # pyright: ignore[reportFunctionMemberAccess]
    give_defaults(c.addressof(marked))
    return -(-len(bytes(marked).rstrip(b"\xaa")) // 8) * 8


def _size(fields: Fields) -> int:
    return c.sizeof(type("Exact", (c.Structure,), {"_fields_": [*fields]}))
