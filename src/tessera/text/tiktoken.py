"""Tokenizers published as a file of ranks for the `tiktoken` library (an optional dependency)."""

import base64
import binascii
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Self

from tessera.errors import StartupError

QWEN36_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN36_CONTROL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
    "<|audio_start|>",
    "<|audio_end|>",
    "<tts_pad>",
    "<tts_text_bos>",
    "<tts_text_eod>",
    "<tts_text_bos_single>",
    "<|audio_pad|>",
]

# The library's regular expressions overflow their stack, and panic, on a million blanks in a row.
_LONGEST_RUN = 500_000
_LONG_RUN = re.compile(rf"(\s{{{_LONGEST_RUN}}})")


class TiktokenTokenizer:
    """A `Tokenizer` over byte-pair ranks. Safe to use from many threads."""

    def __init__(
        self,
        ranks: Mapping[bytes, int],
        pattern: str,
        control_tokens: Mapping[str, int],
        *,
        nfc: bool = False,
    ) -> None:
        """`pattern` cuts text before it is merged; `nfc` composes characters before that."""
        try:
            import tiktoken
        except ImportError as error:
            raise StartupError("This tokenizer needs tiktoken: install tessera-serve[tiktoken].") from error
        # The library is not told of the control tokens: no text can become one.
        self._encode = tiktoken.Encoding(
            "ordinary", pat_str=pattern, mergeable_ranks=dict(ranks), special_tokens={}
        ).encode_ordinary
        self._control = dict(control_tokens)
        self._bytes = {id: spelled for spelled, id in ranks.items()}
        self._bytes |= {id: token.encode() for token, id in control_tokens.items()}
        self._size = max(self._bytes) + 1
        self._nfc = nfc

    @classmethod
    def qwen36(cls, ranks_file: Path) -> Self:
        """The tokenizer of Qwen3.5 and Qwen3.6, whose control tokens follow its 248,044 ranks."""
        ranks = read_ranks(ranks_file)
        control = {token: len(ranks) + i for i, token in enumerate(QWEN36_CONTROL)}
        return cls(ranks, QWEN36_PATTERN, control, nfc=True)

    @property
    def vocabulary_size(self) -> int:
        """Ids are below this number."""
        return self._size

    @property
    def control_tokens(self) -> Mapping[str, int]:
        """The control tokens given."""
        return MappingProxyType(self._control)

    def encode(self, text: str) -> list[int]:
        """Ordinary tokens only."""
        text = unicodedata.normalize("NFC", text) if self._nfc else text
        if len(text) < _LONGEST_RUN:
            return self._encode(text)
        return [id for part in _LONG_RUN.split(text) for id in self._encode(part)]

    def token_bytes(self, token_id: int) -> bytes:
        """What the token spells; b"" for an unknown id."""
        return self._bytes.get(token_id, b"")


def read_ranks(path: Path) -> dict[bytes, int]:
    """Read lines of base64 bytes and their rank; raises `StartupError` if it is not such a file."""
    try:
        lines = (line.split() for line in path.read_bytes().splitlines() if line)
        return {base64.b64decode(spelled, validate=True): int(rank) for spelled, rank in lines}
    except (OSError, ValueError, binascii.Error) as error:
        raise StartupError(f"{path} is not a file of tiktoken ranks: {error}") from error
