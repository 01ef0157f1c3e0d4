"""The tokenizer of a GGUF file as llama.cpp has it, for vocabularies that `text.gguf` does not know."""

import ctypes as c
from collections.abc import Sequence
from pathlib import Path

from tessera.engine.llamacpp.api import LlamaApi
from tessera.engine.llamacpp.context import LlamaModel
from tessera.engine.llamacpp.library import open_library
from tessera.text.foreign import ForeignTokenizer
from tessera.text.hf import is_mere_text

_CONTROL, _USER_DEFINED = 8, 16
"""Flags of `llama_token_attr` in llama.h."""


def open_tokenizer(library: Path | None, paths: Sequence[Path]) -> ForeignTokenizer:
    """Loads the library into this process, and the vocabulary of the file, but no weights.

    Raises `StartupError`.
    """
    api = open_library(library)[1]
    _declare(api)
    model = LlamaModel(api, paths, {"vocab_only": True})
    vocabulary = c.c_void_p(api.llama_model_get_vocab(model.handle))
    n_tokens = model.vocabulary_size
    attributes = [api.llama_vocab_get_attr(vocabulary, id) for id in range(n_tokens)]
    texts = [api.llama_vocab_get_text(vocabulary, id).decode(errors="replace") for id in range(n_tokens)]
    control = {
        text: id
        for id, (text, attribute) in enumerate(zip(texts, attributes, strict=True))
        if attribute & _CONTROL or (attribute & _USER_DEFINED and not is_mere_text(text))
    }

    def encode(text: str) -> list[int]:
        utf8 = text.encode(errors="replace")
        ids = (c.c_int32 * (len(utf8) + 16))()
        n_found = api.llama_tokenize(vocabulary, utf8, len(utf8), ids, len(ids), False, False)
        if n_found < 0:  # a normalisation has made it longer
            ids = (c.c_int32 * -n_found)()
            n_found = api.llama_tokenize(vocabulary, utf8, len(utf8), ids, len(ids), False, False)
        return ids[:n_found]

    return ForeignTokenizer([_spelling(api, vocabulary, id) for id in range(n_tokens)], control, encode)


def _spelling(api: LlamaApi, vocabulary: c.c_void_p, token_id: int) -> bytes:
    size = 64
    while (
        n_bytes := api.llama_token_to_piece(
            vocabulary, token_id, buffer := (c.c_char * size)(), size, 0, True
        )
    ) < 0:
        size = -n_bytes
    return buffer.raw[:n_bytes]


def _declare(api: LlamaApi) -> None:
    pointer, number, text, flag = c.c_void_p, c.c_int32, c.c_char_p, c.c_bool
    for name, arguments, result in (
        ("llama_vocab_get_attr", [pointer, number], c.c_int),
        ("llama_vocab_get_text", [pointer, number], text),
        ("llama_token_to_piece", [pointer, number, c.c_void_p, number, number, flag], number),
        ("llama_tokenize", [pointer, text, number, c.c_void_p, number, flag, flag], number),
    ):
        function = getattr(api, name)
        function.argtypes, function.restype = arguments, result
