"""Tokenizers in the `tokenizer.json` form of the `tokenizers` library.

The library turns any added token that a text spells into its id. Text is therefore encoded by a second
tokenizer that does not have those tokens: they are taken out of the added tokens, the vocabulary and the
merges. No text can then become one of them, and all other text keeps its ids.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import tokenizers

from tessera.errors import ModelError

_Spec = dict[str, Any]  # the tree of a tokenizer.json


class HfTokenizer:
    """A `Tokenizer` over a BPE of the `tokenizers` library. Safe to use from many threads."""

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        """Raises `ModelError` for models other than BPE."""
        self.json = tokenizer.to_str()
        """The tokenizer.json, with the control tokens."""
        spec: _Spec = json.loads(self.json)
        if (kind := spec["model"]["type"]) != "BPE":
            raise ModelError(f"The tokenizer's model is {kind}; only BPE is supported.")
        added = tokenizer.get_added_tokens_decoder()
        self._control = {token.content: id for id, token in added.items() if not _is_text(token)}
        texts = {token.content: id for id, token in added.items() if _is_text(token)}
        self._ordinary = tokenizers.Tokenizer.from_str(json.dumps(_ordinary(spec, self._control, texts)))
        self._bytes = _spellings(spec, tokenizer.get_vocab(), {token.content for token in added.values()})

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Reads a tokenizer.json; raises `ModelError` if it is none."""
        try:
            return cls(tokenizers.Tokenizer.from_file(str(path)))
        except ModelError:
            raise
        except Exception as error:  # the library raises bare Exceptions
            raise ModelError(f"{path} is not a tokenizer.json that can be read: {error}") from error

    @property
    def vocabulary_size(self) -> int:
        return len(self._bytes)

    @property
    def control_tokens(self) -> Mapping[str, int]:
        """Every added token, whether the library calls it special or not, except those that are mere text:
        runs of white space, single letters, and HTML tags for formatting.
        """
        return MappingProxyType(self._control)

    def encode(self, text: str) -> list[int]:
        # Unlike `encode`, this releases the interpreter lock.
        return self._ordinary.encode_batch_fast([text], add_special_tokens=False)[0].ids

    def token_bytes(self, token_id: int) -> bytes:
        return self._bytes[token_id] if 0 <= token_id < len(self._bytes) else b""


_HTML = re.compile(
    "</?(table|caption|thead|tbody|tfoot|tr|th|td|h[1-6]|blockquote|strong|em|b|i|u|sub|sup|code)>"
)


def is_mere_text(content: str) -> bool:
    """Whether a token that was added to a vocabulary, and that is not called special, is ordinary text: white
    space, a letter (DeepSeek), or HTML (Gemma).
    """
    text = content.replace("▁", " ").strip()
    return len(text) < 2 or _HTML.fullmatch(text) is not None


def _is_text(token: tokenizers.AddedToken) -> bool:
    return not token.special and is_mere_text(token.content)


def _ordinary(spec: _Spec, control: Mapping[str, int], texts: Mapping[str, int]) -> _Spec:
    """The specification of the same tokenizer without control tokens."""
    model: _Spec = dict(spec["model"])
    # Added tokens outside the vocabulary would get new ids, in the gaps that control tokens leave.
    model["vocab"] = {t: id for t, id in model["vocab"].items() if t not in control} | dict(texts)
    pairs = [tuple(m.split(" ", 1)) if isinstance(m, str) else tuple(m) for m in model["merges"]]
    model["merges"] = [
        [left, right] for left, right in pairs if control.keys().isdisjoint({left, right, left + right})
    ]
    if model.get("unk_token") in control:
        model["unk_token"] = None
    # "first" puts a space before the first text of a prompt only; prompts begin with a control token, and
    # every segment after one would look like the first.
    splitter = json.dumps(spec["pre_tokenizer"]).replace(
        '"prepend_scheme": "first"', '"prepend_scheme": "never"'
    )
    return {
        **spec,
        "model": model,
        "pre_tokenizer": json.loads(splitter),
        "added_tokens": [token for token in spec["added_tokens"] if token["content"] not in control],
        "post_processor": None,
        "truncation": None,
        "padding": None,
    }


def _spellings(spec: _Spec, vocabulary: Mapping[str, int], added: set[str]) -> list[bytes]:
    """The bytes of every id. Added tokens are spelled as they are, the others in the model's alphabet."""
    byte_level = '"ByteLevel"' in json.dumps([spec["pre_tokenizer"], spec["decoder"]])
    spelled = [b""] * (max(vocabulary.values(), default=-1) + 1)
    for token, id in vocabulary.items():
        if token in added:
            spelled[id] = token.encode()
        else:
            spelled[id] = _byte_level(token) if byte_level else _byte_fallback(token)
    return spelled


def _alphabet() -> dict[int, int]:
    """GPT-2's printable code for each byte: printable bytes stand for themselves, the others follow 255."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = (byte for byte in range(256) if byte not in printable)
    return {byte: byte for byte in printable} | {256 + i: byte for i, byte in enumerate(others)}


_BYTE_OF = _alphabet()
_BYTE_TOKEN = re.compile("<0x([0-9A-Fa-f]{2})>")


def _byte_level(token: str) -> bytes:
    try:
        return token.translate(_BYTE_OF).encode("latin-1")
    except UnicodeEncodeError:  # not in the alphabet: the token stands in the vocabulary as plain text
        return token.encode()


def _byte_fallback(token: str) -> bytes:
    if byte := _BYTE_TOKEN.fullmatch(token):
        return bytes.fromhex(byte[1])
    return token.replace("▁", " ").encode()
