"""The functions of llama.h and ggml.h that the engine calls, by `ctypes`.

Every call releases the interpreter's lock. ggml ends the process where a caller breaks its rules; who calls
keeps them.
"""

import ctypes as c
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tessera.engine.llamacpp.layouts import (
    CONTEXT_DEFAULTS,
    CONTEXT_LAYOUTS,
    MODEL_DEFAULTS,
    MODEL_LAYOUTS,
    Batch,
    find_layout,
)
from tessera.errors import StartupError

_logger = logging.getLogger(__name__)

_PTR, _INT, _UINT, _SIZE, _BOOL, _TEXT = c.c_void_p, c.c_int32, c.c_uint32, c.c_size_t, c.c_bool, c.c_char_p

PARTIAL_ONLY = 1
"""Of `llama_state_seq_*_ext`: the recurrent state alone, without the cells of attention."""

_CALLS: dict[str, tuple[list[Any], Any]] = {
    "llama_backend_init": ([], None),
    "llama_version": ([], _TEXT),
    "llama_print_system_info": ([], _TEXT),
    "llama_supports_gpu_offload": ([], _BOOL),
    "llama_model_free": ([_PTR], None),
    "llama_model_get_vocab": ([_PTR], _PTR),
    "llama_model_desc": ([_PTR, c.c_void_p, _SIZE], _INT),
    "llama_model_n_layer": ([_PTR], _INT),
    "llama_model_n_swa": ([_PTR], _INT),
    "llama_model_n_ctx_train": ([_PTR], _INT),
    "llama_model_is_hybrid": ([_PTR], _BOOL),
    "llama_model_is_recurrent": ([_PTR], _BOOL),
    "llama_model_has_encoder": ([_PTR], _BOOL),
    "llama_vocab_n_tokens": ([_PTR], _INT),
    "llama_free": ([_PTR], None),
    "llama_n_ctx": ([_PTR], _UINT),
    "llama_n_ctx_seq": ([_PTR], _UINT),
    "llama_get_memory": ([_PTR], _PTR),
    "llama_decode": ([_PTR, Batch], _INT),
    "llama_get_logits": ([_PTR], _PTR),
    "llama_memory_seq_cp": ([_PTR, _INT, _INT, _INT, _INT], None),
    "llama_memory_seq_rm": ([_PTR, _INT, _INT, _INT], _BOOL),
    "llama_memory_seq_pos_max": ([_PTR, _INT], _INT),
    "llama_memory_clear": ([_PTR, _BOOL], None),
    "llama_state_seq_get_size_ext": ([_PTR, _INT, _UINT], _SIZE),
    "llama_state_seq_get_data_ext": ([_PTR, _PTR, _SIZE, _INT, _UINT], _SIZE),
    "llama_state_seq_set_data_ext": ([_PTR, _PTR, _SIZE, _INT, _UINT], _SIZE),
    "ggml_backend_load_all_from_path": ([_TEXT], None),
    "ggml_backend_cpu_buffer_type": ([], _PTR),
    "ggml_backend_dev_count": ([], _SIZE),
    "ggml_backend_dev_get": ([_SIZE], _PTR),
    "ggml_backend_dev_name": ([_PTR], _TEXT),
    "ggml_backend_dev_description": ([_PTR], _TEXT),
    "ggml_backend_dev_type": ([_PTR], c.c_int),
    "ggml_backend_dev_memory": ([_PTR, c.POINTER(_SIZE), c.POINTER(_SIZE)], None),
}

_LOG_CALLBACK = c.CFUNCTYPE(None, c.c_int, _TEXT, _PTR)
_WARN, _ERROR = 3, 4
_MOST_COMPLAINTS = 20


class LlamaApi:
    """A library, loaded. Its functions are attributes, under the names that llama.h gives them."""

    def __init__(self, path: Path) -> None:
        """Raises `StartupError` if the file is no such library, or one whose structures are not known."""
        try:
            self._library = c.CDLL(str(path))
        except OSError as error:
            raise StartupError(f"{path} cannot be loaded: {error}") from error
        self.complaints: list[str] = []
        """What the library has reported as errors lately."""
        self._log = _LOG_CALLBACK(self._hear)  # kept, for the library calls it as long as it lives
        for name, (arguments, result) in _CALLS.items():
            function = self._function(path, name)
            function.argtypes, function.restype = arguments, result
        self._function(path, "llama_log_set")(self._log, None)
        self.ggml_backend_load_all_from_path(str(path.parent).encode())
        self.llama_backend_init()
        self.version: str = self.llama_version().decode()
        model = find_layout(self.llama_model_default_params, MODEL_LAYOUTS, MODEL_DEFAULTS)
        context = find_layout(self.llama_context_default_params, CONTEXT_LAYOUTS, CONTEXT_DEFAULTS)
        if model is None or context is None:
            what = "llama_model_params" if model is None else "llama_context_params"
            raise StartupError(
                f"{path} is llama.cpp {self.version}, in which {what} has a layout that is not known here. "
                "Install a version that is: tessera engines install llamacpp."
            )
        self._declare(model, context)

    def _declare(self, model: type[c.Structure], context: type[c.Structure]) -> None:
        for name, kind in (("llama_model_default_params", model), ("llama_context_default_params", context)):
            function = getattr(self._library, name)
            function.argtypes, function.restype = [], kind
        for name, arguments in (
            ("llama_model_load_from_splits", [c.POINTER(_TEXT), _SIZE, model]),
            ("llama_init_from_model", [_PTR, context]),
        ):
            function = getattr(self._library, name)
            function.argtypes, function.restype = arguments, _PTR

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return getattr(self._library, name)

    def _function(self, path: Path, name: str) -> "c._FuncPointer":  # pyright: ignore[reportPrivateUsage]
        try:
            return getattr(self._library, name)
        except AttributeError as error:
            raise StartupError(f"{path} is not a library of llama.cpp: it has no {name}.") from error

    def _hear(self, level: int, text: bytes, _: object) -> None:
        said = text.decode(errors="replace").strip()
        if level == _ERROR and said:
            self.complaints = [*self.complaints, said][-_MOST_COMPLAINTS:]
        if level >= _WARN and said:
            _logger.debug("llama.cpp: %s", said)
