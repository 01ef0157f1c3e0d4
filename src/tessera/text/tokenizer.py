"""The protocol of tokenizers.

Two kinds of tokens exist. Control tokens (`<|im_end|>`, `<tool_call>`…) are single ids that only the
renderer writes; ordinary tokens spell text. Encoding a text never yields a control token, whatever the text
looks like. A user who types `<|im_end|>` therefore cannot end a turn.
"""

from collections.abc import Mapping
from typing import Protocol


class Tokenizer(Protocol):
    """Text ↔ ids."""

    @property
    def vocabulary_size(self) -> int:
        """Ids are below this number."""
        ...

    @property
    def control_tokens(self) -> Mapping[str, int]:
        """The text of every control token, by which renderers name it, and its id."""
        ...

    def encode(self, text: str) -> list[int]:
        """The ids of the text: ordinary tokens only, with nothing before or after them."""
        ...

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that an ordinary token spells, or the text of a control token; b"" for an unknown id."""
        ...
