"""Cells that are only noted: which positions, and which state, each id has."""

import mmap
from collections import defaultdict


class NotedCells:
    """Cells that note, for each position of an id, which id computed it. A state is its owner and its
    position.
    """

    def __init__(self) -> None:
        self.held: dict[int, dict[int, object]] = defaultdict(dict)
        self.states: dict[int, bytes] = {}

    def write(self, id: int, tokens: list[int], start: int) -> None:
        for position, token in enumerate(tokens, start):
            self.held[id][position] = token
        before = self.states.get(id, b"")
        self.states[id] = before + bytes(token % 256 for token in tokens)

    def copy(self, source: int, target: int, start: int = -1, end: int = -1) -> None:
        for position, token in self.held[source].items():
            if position >= start and (end < 0 or position < end):
                self.held[target][position] = token
        self.states.pop(target, None)
        if source in self.states:
            self.states[target] = self.states[source]

    def remove(self, id: int, start: int = -1, end: int = -1) -> None:
        kept = {p: t for p, t in self.held[id].items() if p < start or (0 <= end <= p)}
        self.held[id] = kept
        if start <= 0 and end < 0:
            self.states.pop(id, None)

    def state(self, id: int) -> mmap.mmap:
        copied = mmap.mmap(-1, len(self.states[id]))
        copied.write(self.states[id])
        return copied

    def set_state(self, id: int, state: mmap.mmap) -> None:
        self.states[id] = state[:]
