"""Where published blocks lie: block i of a prefix has positions 32i to 32i+31 of some lane, all by itself.

So a block is shared by giving its cells to a seat as well, stays alive through its lane alone, and is evicted
by a range of one lane. No cell is ever copied.

In layers with a window, llama.cpp overwrites cells that have a single id and lie outside of its window. Lanes
of such models have twins, ids with the same cells, so that none of what is kept has a single id.
"""

from collections.abc import Sequence

from tessera.engine.batch.blocks import BLOCK_TOKENS
from tessera.engine.llamacpp.context import Cells


class Lanes:
    """`empty` is an id that never has anything, for cells of a model with recurrent states.

    Each index holds as many blocks as there are lanes. With `twins`, as many ids follow the lanes.
    """

    def __init__(self, cells: Cells, lanes: range, empty: int | None = None, *, twins: bool = False) -> None:
        self._cells = cells
        self._lanes = lanes
        self._offsets = (0, len(lanes)) if twins else (0,)
        self._empty = empty
        self._places: dict[int, tuple[int, int]] = {}  # lane and index of each block
        self._free: dict[int, set[int]] = {}  # by index, the lanes that have nothing there

    def keep(self, seat: int, block: int, index: int, before: int | None) -> bool:
        """Gives the cells of a sequence's block to a lane: that of the block `before` it, if it can be.

        False if all lanes are taken at that index.
        """
        if block in self._places:
            return True
        free = self._free.setdefault(index, set(self._lanes))
        if not free:
            return False
        near = None if before is None else self._places.get(before)
        lane = near[0] if near and near[0] in free else min(free)
        free.discard(lane)
        self._places[block] = lane, index
        for offset in self._offsets:
            self._cells.copy(seat, lane + offset, *_range(index, index + 1))
            if self._empty is not None:
                self._cells.copy(self._empty, lane + offset)  # a lane has no recurrent state
        return True

    def fetch(self, seat: int, blocks: Sequence[int], start: int) -> None:
        """Gives the cells of blocks, of which the first has index `start`, to a seat that has all before."""
        begin = 0
        for i in range(1, len(blocks) + 1):
            lane = self._places[blocks[begin]][0]
            if i == len(blocks) or self._places[blocks[i]][0] != lane:
                self._cells.copy(lane, seat, *_range(start + begin, start + i))
                begin = i

    def drop(self, block: int) -> None:
        """The block is evicted, if it was kept."""
        if place := self._places.pop(block, None):
            lane, index = place
            for offset in self._offsets:
                self._cells.remove(lane + offset, *_range(index, index + 1))
            self._free[index].add(lane)


def _range(first: int, end: int) -> tuple[int, int]:
    return first * BLOCK_TOKENS, end * BLOCK_TOKENS
