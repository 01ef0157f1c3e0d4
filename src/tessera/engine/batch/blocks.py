"""The blocks of the KV cache: who holds them, and which of them can be reused.

A block holds the keys and values of BLOCK_TOKENS consecutive tokens. Sequences hold blocks by reference
count. A full block gets a key, the SHA-256 chain over everything before it; a sequence that starts with the
same tokens under the same salt takes the block instead of computing it. Blocks that no sequence holds stay
reusable until they are needed. Then the account with most of them loses its least recently used one: with k
accounts, none can push another's below one k-th of what is kept. Blocks are *reproducible* if their keys and
values do not depend on what else ran while they were computed; some sequences take no others. (The scheme is
vLLM's automatic prefix caching; PagedAttention: Kwon et al. 2023, arXiv 2309.06180.)
"""

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Sequence

from tessera.engine.batch.placement import InPlace, Placement

BLOCK_TOKENS = 32
"""The one block size of OpenVINO's CPU kernels."""


def root_key(cache_salt: bytes) -> bytes:
    """The parent key of a prompt's first block; different salts share nothing."""
    return hashlib.sha256(cache_salt).digest()


def block_key(parent: bytes, token_ids: Sequence[int]) -> bytes:
    """The key of a full block: 32 bytes over all tokens from the start of the sequence."""
    return hashlib.sha256(parent + array("I", token_ids).tobytes()).digest()


class BlockPool:
    """`n_blocks` blocks, each free, held, or kept for reuse.

    A block is *held* while its reference count is above 0. With no holder left it is *kept* if it has a
    key, else free.
    """

    def __init__(self, n_blocks: int, placement: Placement | None = None) -> None:
        """`placement` is called when a published block changes. Without one, a block's number is its place in
        the cache.
        """
        self.n_blocks = n_blocks
        self.placement = placement or InPlace()
        self._holders = [0] * n_blocks
        self._keys: list[bytes | None] = [None] * n_blocks
        self._by_key: dict[bytes, int] = {}
        self._free = list(range(n_blocks - 1, -1, -1))
        self._owners = [b""] * n_blocks  # of those with a key: the salt they were computed under
        self._reproducible = [False] * n_blocks
        self._kept: dict[bytes, OrderedDict[int, None]] = {}  # by owner, oldest first
        self.n_kept = 0
        """How many blocks no sequence holds, but can be reused."""
        self.n_touched = 0
        """How many blocks have ever been used: memory is resident for these."""

    @property
    def n_available(self) -> int:
        """How many blocks `take` can give, kept ones included."""
        return len(self._free) + self.n_kept

    @property
    def n_held(self) -> int:
        """How many blocks sequences hold now."""
        return self.n_blocks - self.n_available

    def take(self, count: int) -> list[int] | None:
        """Takes and holds `count` fresh blocks; returns None, and changes nothing, if there are fewer."""
        if count > self.n_available:
            return None
        return [self._take_one() for _ in range(count)]

    def find(self, key: bytes, *, reproducible: bool = False) -> int | None:
        """Finds the block with that key and holds it. None if there is none, or if it has to be reproducible
        and is not.
        """
        block = self._by_key.get(key)
        if block is None or (reproducible and not self._reproducible[block]):
            return None
        self.hold(block)
        return block

    def is_reproducible(self, block: int) -> bool:
        """Whether the block was published as such."""
        return self._reproducible[block]

    def hold(self, block: int) -> None:
        if self._holders[block] == 0:
            self._unkeep(block)
        self._holders[block] += 1

    def release(self, blocks: Sequence[int]) -> None:
        """Counts one holder fewer of each block; the later blocks of a sequence are evicted first."""
        for block in reversed(blocks):
            self._holders[block] -= 1
            if self._holders[block]:
                continue
            if self._keys[block] is None:
                self.placement.drop(block)
                self._free.append(block)
            else:
                self._kept.setdefault(self._owners[block], OrderedDict())[block] = None
                self.n_kept += 1

    def publish(self, block: int, key: bytes, owner: bytes = b"", *, reproducible: bool = False) -> int:
        """Makes a full block findable by its key; the caller holds it. If another block has the key, that one
        stays findable, unless only the new one is reproducible. Returns the one that is found by the key.
        """
        known = self._by_key.get(key)
        if known is not None:
            if self._reproducible[known] or not reproducible:
                return known
            self.forget(known)
        self._by_key[key] = block
        self._keys[block] = key
        self._owners[block] = owner
        self._reproducible[block] = reproducible
        return block

    def forget(self, block: int) -> None:
        """Makes a block with a key unfindable; it is free once no sequence holds it. A holder may not have
        taken over yet what the block holds, so that it is dropped no earlier.
        """
        key = self._keys[block]
        assert key is not None
        del self._by_key[key]
        self._keys[block] = None
        self._reproducible[block] = False
        if not self._holders[block]:
            self._unkeep(block)
            self.placement.drop(block)
            self._free.append(block)

    def _take_one(self) -> int:
        if not self._free:
            self.forget(next(iter(max(self._kept.values(), key=len))))
        block = self._free.pop()
        self.n_touched = max(self.n_touched, block + 1)  # unused ones are given in ascending order
        self._holders[block] = 1
        return block

    def _unkeep(self, block: int) -> None:
        owner = self._owners[block]
        del self._kept[owner][block]
        if not self._kept[owner]:
            del self._kept[owner]
        self.n_kept -= 1
