"""What a tokenizer is to us.

Two kinds of tokens exist. Control tokens (`<|im_end|>`, `<tool_call>`…) are single ids that only the
renderer writes; ordinary tokens spell text. Encoding text never yields a control token, whatever the text
looks like: that is how a user who types `<|im_end|>` stays a user.
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
        """Ordinary tokens only."""
        ...

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes an ordinary token spells, or the UTF-8 text of a control token; unknown ids are b""."""
        ...
