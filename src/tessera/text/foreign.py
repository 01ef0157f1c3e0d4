"""A tokenizer that another library computes, for vocabularies that `gguf` cannot build.

Such a library may turn a text that is spelled like a control token into that token. Here it never does: the
text is then cut within the spelling, and each piece is encoded by itself. All other ids are the library's.
Its limits are: where a vocabulary puts a blank before every text, there is one at each cut; and a text is
normalised as the library does it, not as the model's own tokenizer would.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType


class ForeignTokenizer:
    """A `Tokenizer`. `spelled` has the bytes of every id; many threads may call `encode` at once."""

    def __init__(
        self, spelled: Sequence[bytes], control: Mapping[str, int], encode: Callable[[str], list[int]]
    ) -> None:
        self._spelled = tuple(spelled)
        self._control = dict(control)
        self._control_ids = frozenset(self._control.values())
        self._encode = encode
        names = sorted(filter(None, self._control), key=len, reverse=True)
        # A lookahead finds spellings that overlap, too.
        self._spellings = re.compile(f"(?={'|'.join(map(re.escape, names))})") if names else None
        self._byte_ids = {
            spelling[0]: id
            for id, spelling in enumerate(spelled)
            if len(spelling) == 1 and id not in self._control_ids
        }

    @property
    def vocabulary_size(self) -> int:
        return len(self._spelled)

    @property
    def control_tokens(self) -> Mapping[str, int]:
        return MappingProxyType(self._control)

    def encode(self, text: str) -> list[int]:
        ids = self._encode(text)
        if self._control_ids.isdisjoint(ids):
            return ids
        return [id for piece in self._cut(text) for id in self._ordinary(piece)]

    def token_bytes(self, token_id: int) -> bytes:
        return self._spelled[token_id] if 0 <= token_id < len(self._spelled) else b""

    def _cut(self, text: str) -> list[str]:
        """Pieces without the whole spelling of a control token, except one of a single character."""
        starts = [found.start() + 1 for found in self._spellings.finditer(text)] if self._spellings else []
        return [text[a:b] for a, b in zip([0, *starts], [*starts, len(text)], strict=True)]

    def _ordinary(self, piece: str) -> list[int]:
        ids = self._encode(piece)
        if self._control_ids.isdisjoint(ids):
            return ids
        if len(piece) > 1:  # the library has normalised the piece into a spelling
            return [id for character in piece for id in self._ordinary(character)]
        return [self._byte_ids[byte] for byte in piece.encode() if byte in self._byte_ids]
