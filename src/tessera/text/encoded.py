"""Texts that were encoded before need not be again.

Between two control tokens, the ids of a text depend on that text alone: of a conversation that goes on, all
but the newest turn is found here.
"""

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock

_ENTRY_BYTES = 250
"""What an entry takes besides its ids."""


class EncodedTexts:
    """The ids of texts under one tokenizer, least recently used out first. Safe to use from many threads.

    The texts of different salts are kept apart: nobody can tell by the time it takes what others sent.
    """

    def __init__(self, max_bytes: int = 32 * 2**20) -> None:
        self._max_bytes = max_bytes
        self._n_bytes = 0
        self._kept: OrderedDict[bytes, array[int]] = OrderedDict()
        self._lock = Lock()

    def ids(self, text: str, salt: bytes, encode: Callable[[str], list[int]]) -> Sequence[int]:
        """What `encode` makes of the text. `salt` has at most 64 bytes."""
        key = hashlib.blake2b(text.encode(errors="surrogatepass"), key=salt, digest_size=32).digest()
        kept = self.find(key)
        return self.keep(key, encode(text)) if kept is None else kept

    def find(self, key: bytes) -> Sequence[int] | None:
        """The ids kept under a key; it must be a digest with the salt in it."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
            return kept

    def keep(self, key: bytes, ids: Sequence[int]) -> Sequence[int]:
        """Keep ids under such a key; returns them."""
        entry = array("I", ids)
        with self._lock:
            if (before := self._kept.pop(key, None)) is not None:
                self._n_bytes -= _size(before)
            self._kept[key] = entry
            self._n_bytes += _size(entry)
            while self._n_bytes > self._max_bytes:
                self._n_bytes -= _size(self._kept.popitem(last=False)[1])
        return entry


def _size(ids: "array[int]") -> int:
    return len(ids) * ids.itemsize + _ENTRY_BYTES
