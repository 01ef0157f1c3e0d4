"""Where the contents of blocks are kept, for engines in which a block is not a place in memory."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tessera.engine.batch.sequence import TokenSequence


class Placement(Protocol):
    """What an engine does when blocks are published, taken over and forgotten.

    The pool counts blocks. Where an engine keeps the keys and values elsewhere, or more than these, it
    follows the count here.
    """

    def resume(self, sequence: "TokenSequence", blocks: Sequence[int]) -> int:
        """How many of these blocks the sequence takes over. They are published, and hold the tokens that it
        has to compute next.
        """
        ...

    def keep(self, sequence: "TokenSequence", index: int, block: int) -> bool:
        """Block `index` of the sequence is full, and what it holds is found as `block` from now on: its own
        block, unless another sequence was first. False if there is no place to keep its own block.
        """
        ...

    def drop(self, block: int) -> None:
        """The block, which may have been kept, is not found any more, and no sequence holds it."""
        ...

    def leave(self, sequence: "TokenSequence") -> None:
        """The sequence gives all its blocks back."""
        ...


class InPlace:
    """A `Placement` for engines whose blocks are places: there is nothing to do."""

    def resume(self, sequence: "TokenSequence", blocks: Sequence[int]) -> int:
        return len(blocks)

    def keep(self, sequence: "TokenSequence", index: int, block: int) -> bool:
        return True

    def drop(self, block: int) -> None:
        pass

    def leave(self, sequence: "TokenSequence") -> None:
        pass
