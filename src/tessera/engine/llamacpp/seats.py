"""The ids of running sequences, and what becomes of their cells when blocks are published or taken over."""

from collections.abc import Sequence
from dataclasses import dataclass

from tessera.engine.batch.blocks import BLOCK_TOKENS
from tessera.engine.batch.sequence import TokenSequence
from tessera.engine.llamacpp.checkpoints import Checkpoints
from tessera.engine.llamacpp.context import Cells
from tessera.engine.llamacpp.lanes import Lanes


@dataclass(slots=True)
class _Seat:
    """`n_present` tokens of the sequence have cells."""

    id: int
    n_present: int = 0


class Seats:
    """A `Placement`. A sequence has a seat from its first pass until it gives its blocks back."""

    def __init__(
        self, cells: Cells, n_seats: int, lanes: Lanes | None, checkpoints: Checkpoints | None
    ) -> None:
        """Without `lanes` nothing is shared but between the sequences of one request. `checkpoints` are those
        of a model with recurrent states.
        """
        self._cells = cells
        self._lanes = lanes
        self._checkpoints = checkpoints
        self._free = list(range(n_seats - 1, -1, -1))
        self._seats: dict[TokenSequence, _Seat] = {}

    def enter(self, sequence: TokenSequence) -> int:
        """The id of a sequence that is about to be computed, which has the cells of all it has computed."""
        seat = self._seats.get(sequence)
        if seat is None:
            seat = self._seats[sequence] = _Seat(self._free.pop())
        n_present, n_computed = seat.n_present, sequence.n_computed
        if n_present < n_computed:
            assert self._lanes is not None
            first = n_present // BLOCK_TOKENS
            self._lanes.fetch(seat.id, sequence.blocks[first : n_computed // BLOCK_TOKENS], first)
            if self._checkpoints:
                self._checkpoints.restore(sequence, seat.id)
        seat.n_present = n_computed
        return seat.id

    def trim(self) -> None:
        """Removes what was wrong of drafts, also of sequences that sit out the next pass: by how far these
        reach, llama.cpp lets others overwrite cells outside of a window.
        """
        for sequence, seat in self._seats.items():
            if seat.n_present > sequence.n_computed:
                self._cells.remove(seat.id, sequence.n_computed)
                seat.n_present = sequence.n_computed

    def copy_state(self, sequence: TokenSequence, n_tokens: int) -> None:
        """Copies the recurrent state of the sequence, which is the one after so many of its tokens."""
        assert self._checkpoints is not None
        self._checkpoints.copy(sequence, n_tokens, self._seats[sequence].id)

    def computed(self, sequence: TokenSequence, n_tokens: int) -> None:
        """The sequence has cells for so many tokens more than it had computed."""
        self._seats[sequence].n_present = sequence.n_computed + n_tokens

    def fork(self, first: TokenSequence, sibling: TokenSequence) -> None:
        """Gives the cells of `first` to its sibling, too."""
        source = self._seats[first]
        seat = self._seats[sibling] = _Seat(self._free.pop(), source.n_present)
        self._cells.copy(source.id, seat.id)

    def resume(self, sequence: TokenSequence, blocks: Sequence[int]) -> int:
        return self._checkpoints.resume(sequence, blocks) if self._checkpoints else len(blocks)

    def keep(self, sequence: TokenSequence, index: int, block: int) -> bool:
        if self._lanes is None:
            return False
        seat = self._seats[sequence]
        if block == sequence.blocks[index]:
            before = sequence.blocks[index - 1] if index else None
            if not self._lanes.keep(seat.id, block, index, before):
                return False
        if self._checkpoints:
            is_there = seat.n_present == (index + 1) * BLOCK_TOKENS
            self._checkpoints.keep(sequence, index, block, seat.id if is_there else None)
        return True

    def drop(self, block: int) -> None:
        if self._lanes:
            self._lanes.drop(block)
        if self._checkpoints:
            self._checkpoints.drop(block)

    def leave(self, sequence: TokenSequence) -> None:
        if self._checkpoints:
            self._checkpoints.leave(sequence)
        if seat := self._seats.pop(sequence, None):
            self._cells.remove(seat.id)
            self._free.append(seat.id)
