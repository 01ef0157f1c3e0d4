"""Tokenizers for trying grammars: a token for each byte, and words beside them."""

import itertools
from collections.abc import Mapping, Sequence


class ByteTokenizer:
    """A `Tokenizer` whose ordinary tokens are the 256 bytes, on the first ids that no control token has."""

    def __init__(self, vocabulary_size: int, control_tokens: Mapping[str, int]) -> None:
        taken = set(control_tokens.values())
        free = (id for id in itertools.count() if id not in taken)
        self.byte_ids = list(itertools.islice(free, 256))
        self._spelled = {id: bytes([byte]) for byte, id in enumerate(self.byte_ids)}
        self._spelled |= {id: token.encode() for token, id in control_tokens.items()}
        self.vocabulary_size = max(vocabulary_size, self.byte_ids[-1] + 1)
        self.control_tokens = control_tokens

    def encode(self, text: str) -> list[int]:
        return self.of_bytes(text.encode())

    def of_bytes(self, spelled: bytes) -> list[int]:
        """The tokens of bytes, which need not be whole characters."""
        return [self.byte_ids[byte] for byte in spelled]

    def token_bytes(self, token_id: int) -> bytes:
        return self._spelled.get(token_id, b"")


class WordTokenizer(ByteTokenizer):
    """A `ByteTokenizer` that also has words; their ids follow all others."""

    def __init__(self, vocabulary_size: int, control_tokens: Mapping[str, int], words: Sequence[str]) -> None:
        super().__init__(vocabulary_size, control_tokens)
        first = self.vocabulary_size
        self.word_ids = range(first, first + len(words))
        self._spelled |= {first + i: word.encode() for i, word in enumerate(words)}
        self.vocabulary_size = first + len(words)
