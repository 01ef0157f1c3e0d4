"""A cache of the token ids of texts.

Between two control tokens, the ids of a text depend on that text alone. In a conversation that goes on, all
texts but those of the newest turn are found here.
"""

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock

_ENTRY_BYTES = 250
"""The memory of an entry besides its ids."""


class EncodedTexts:
    """The ids of texts under one tokenizer. The least recently used are dropped first. Safe to use from many
    threads.

    Texts under different salts are kept apart, so that no client can tell from timing what another one sent.
    """

    def __init__(self, max_bytes: int = 32 * 2**20) -> None:
        self._max_bytes = max_bytes
        self._n_bytes = 0
        self._kept: OrderedDict[bytes, array[int]] = OrderedDict()
        self._lock = Lock()

    def ids(self, text: str, salt: bytes, encode: Callable[[str], list[int]]) -> Sequence[int]:
        """The ids of the text, by `encode` if they are not cached. `salt` has at most 64 bytes."""
        key = hashlib.blake2b(text.encode(errors="surrogatepass"), key=salt, digest_size=32).digest()
        kept = self.find(key)
        return self.keep(key, encode(text)) if kept is None else kept

    def find(self, key: bytes) -> Sequence[int] | None:
        """The ids under a key, which must be a digest that includes the salt."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
            return kept

    def keep(self, key: bytes, ids: Sequence[int]) -> Sequence[int]:
        """Keeps ids under such a key; returns them."""
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
