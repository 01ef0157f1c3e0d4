"""Recurrent states of hybrid models, copied at the ends of published blocks.

Such a model can go on from a prefix only where its recurrent state is known, and the state of an earlier
token cannot be got back from a later one. A state takes tens of megabytes, so only some are kept: near the
end of each prompt, for the next turn of the conversation; where a prompt leaves what others had in common
with it, for the next one that does; now and then within long prompts; and the last one of each reply.
"""

import mmap
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from tessera.engine.batch.blocks import BLOCK_TOKENS
from tessera.engine.batch.sequence import TokenSequence
from tessera.engine.llamacpp.context import Cells

# The next turn of a conversation differs from this one's prompt in what the template puts before the reply.
_TEMPLATE_TOKENS = 16
# Shorter prompts are computed again as fast.
_LEAST_TOKENS = 64
# Of one prompt, beside the two above, this many states at most, and not closer together than this.
_MOST_WITHIN, _LEAST_APART = 8, 2048


@dataclass(slots=True)
class _Course:
    """What is known of a running sequence.

    It goes on from `resumed`. Others have its first `n_common` tokens, too. `copied` are states by how many
    tokens they follow, of blocks that are not published yet. The last state was kept after `n_last` tokens,
    and the last one within the reply is that of `reply_block`.
    """

    resumed: mmap.mmap | None = None
    n_common: int = 0
    copied: dict[int, mmap.mmap] = field(default_factory=dict[int, mmap.mmap])
    n_last: int = 0
    reply_block: int | None = None


class Checkpoints:
    """States by block; `most_bytes` of them, least recently used out first."""

    def __init__(self, cells: Cells, most_bytes: int) -> None:
        self._cells = cells
        self._most_bytes = most_bytes
        self._states: OrderedDict[int, mmap.mmap] = OrderedDict()
        self._n_bytes = 0
        self._courses: dict[TokenSequence, _Course] = {}

    def resume(self, sequence: TokenSequence, blocks: Sequence[int]) -> int:
        """How many of these next blocks the sequence can take over."""
        n_taken = next((n for n in range(len(blocks), 0, -1) if blocks[n - 1] in self._states), 0)
        course = self._courses.setdefault(sequence, _Course())
        if n_taken < len(blocks):
            course.n_common = (len(sequence.blocks) + len(blocks)) * BLOCK_TOKENS
        if n_taken:
            block = blocks[n_taken - 1]
            self._states.move_to_end(block)
            course.resumed = self._states[block]
            course.n_last = (len(sequence.blocks) + n_taken) * BLOCK_TOKENS
        return n_taken

    def restore(self, sequence: TokenSequence, seat: int) -> None:
        """Gives the seat the state of the blocks that its sequence has taken over."""
        course = self._courses[sequence]
        assert course.resumed is not None
        self._cells.set_state(seat, course.resumed)
        course.resumed = None

    def cuts(self, sequence: TokenSequence, n_tokens: int) -> list[int]:
        """After how many of its tokens the sequence's state is to be copied, while the next are computed."""
        start, end = sequence.n_computed, sequence.n_computed + n_tokens
        return sorted(cut for cut in self._wanted(sequence) if start < cut < end)

    def copy(self, sequence: TokenSequence, n_tokens: int, seat: int) -> None:
        """Copies the seat's state, which is the one after so many of its tokens."""
        course = self._courses.setdefault(sequence, _Course())
        course.copied[n_tokens] = self._cells.state(seat)

    def keep(self, sequence: TokenSequence, index: int, block: int, seat: int | None) -> None:
        """Keeps the state after block `index` of the sequence, if it is one to keep; the seat has it, or else
        it was copied.
        """
        course = self._courses.setdefault(sequence, _Course())
        end = (index + 1) * BLOCK_TOKENS
        state = course.copied.pop(end, None)
        if block in self._states:
            self._states.move_to_end(block)
            return
        if state is None and seat is not None and self._is_wanted(sequence, course, end):
            state = self._cells.state(seat)
        if state is None:
            return
        course.n_last = end
        if end > sequence.n_prompt:
            if course.reply_block is not None:
                self.drop(course.reply_block)
            course.reply_block = block
        self._add(block, state)

    def drop(self, block: int) -> None:
        """Forgets the state of a block, if there is one."""
        if state := self._states.pop(block, None):
            self._n_bytes -= len(state)

    def leave(self, sequence: TokenSequence) -> None:
        """The sequence runs no more."""
        self._courses.pop(sequence, None)

    def _wanted(self, sequence: TokenSequence) -> set[int]:
        course = self._courses.get(sequence)
        end = (sequence.n_prompt - _TEMPLATE_TOKENS) // BLOCK_TOKENS * BLOCK_TOKENS
        return {course.n_common if course else 0, end if end >= _LEAST_TOKENS else 0}

    def _is_wanted(self, sequence: TokenSequence, course: _Course, end: int) -> bool:
        apart = max(_LEAST_APART, sequence.n_prompt // _MOST_WITHIN)
        return end > sequence.n_prompt or end - course.n_last >= apart or end in self._wanted(sequence)

    def _add(self, block: int, state: mmap.mmap) -> None:
        self._states[block] = state
        self._n_bytes += len(state)
        while self._n_bytes > self._most_bytes:
            self.drop(next(iter(self._states)))
