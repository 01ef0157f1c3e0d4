"""Finds literals in a stream of text, however it is cut into pieces.

An Aho-Corasick automaton reads every character once. Text is held exactly as long as it could still become
one of the literals. It is returned in the pieces in which it came, so that logprobs stay with their text.
"""

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from tessera.text.pieces import TextPiece


@dataclass(frozen=True, slots=True)
class FoundTag:
    """A literal that was found, or a control token. `pieces` hold its text."""

    text: str
    pieces: tuple[TextPiece, ...]


def cut(piece: TextPiece, at: int) -> tuple[TextPiece, TextPiece]:
    """Cuts a piece in two. Its logprobs are those of tokens that end in it, so they go with its end."""
    if at == len(piece.text):
        return piece, TextPiece("")
    return TextPiece(piece.text[:at]), TextPiece(piece.text[at:], piece.logprobs)


def span(piece: TextPiece, at: int, until: int) -> TextPiece:
    """A part of the piece, with its logprobs if it reaches the end."""
    return TextPiece(piece.text[at:until], piece.logprobs if until == len(piece.text) else ())


class Automaton:
    """An automaton whose state is the longest suffix of the text that is a prefix of a literal."""

    def __init__(self, literals: Iterable[str]) -> None:
        self._next: list[dict[str, int]] = [{}]
        self._shorter = [0]
        self.depth = [0]
        self.found = [""]
        for literal in filter(None, literals):
            state = 0
            for character in literal:
                if character not in self._next[state]:
                    self._next[state][character] = len(self._next)
                    self._next.append({})
                    self._shorter.append(0)
                    self.depth.append(self.depth[state] + 1)
                    self.found.append("")
                state = self._next[state][character]
            self.found[state] = literal
        firsts = "".join(map(re.escape, self._next[0]))
        self.first = re.compile(f"[{firsts}]") if firsts else None
        states = deque(self._next[0].values())
        while states:
            state = states.popleft()
            for character, longer in self._next[state].items():
                self._shorter[longer] = self.step(self._shorter[state], character)
                # Of two literals that end here, the longer one counts.
                self.found[longer] = self.found[longer] or self.found[self._shorter[longer]]
                states.append(longer)

    def step(self, state: int, character: str) -> int:
        """The state after one more character. Takes constant time on average over a text."""
        while state and character not in self._next[state]:
            state = self._shorter[state]
        return self._next[state].get(character, 0)


markup_automaton = lru_cache(maxsize=64)(Automaton)
"""Makes the automaton for a family's own literals. Those of clients are not cached."""


class Matcher:
    """One search through one stream."""

    def __init__(self, automaton: Automaton) -> None:
        self._automaton = automaton
        self._state = 0
        self._held: deque[TextPiece] = deque()
        self._n_held = 0

    def passes(self, text: str) -> bool:
        """Whether no part of the text can belong to a literal, so that it need not be scanned."""
        first = self._automaton.first
        return not self._state and (first is None or first.search(text) is None)

    def scan(self, piece: TextPiece) -> tuple[list[TextPiece], FoundTag | None, int]:
        """Reads `piece` to the end of the first literal, or to its own end.

        Returns the text that is now known to belong to no literal, the literal if one was found, and the
        place up to which the piece was read. The literal that ends first is found; nothing is held after it.
        """
        text = piece.text
        if self.passes(text):
            return [piece], None, len(text)  # the common case
        automaton = self._automaton
        state = self._state
        at = 0
        while at < len(text):
            if not state:
                begin = automaton.first.search(text, at) if automaton.first else None
                if begin is None:
                    break
                at = begin.start()
            state = automaton.step(state, text[at])
            at += 1
            if literal := automaton.found[state]:
                self._state = 0
                self._held.append(span(piece, 0, at))
                self._n_held += at
                before = self._take(self._n_held - len(literal))
                return before, FoundTag(literal, tuple(self._take(len(literal)))), at
        self._state = state
        self._held.append(piece)
        self._n_held += len(text)
        return self._take(self._n_held - automaton.depth[state]), None, len(text)

    def flush(self) -> list[TextPiece]:
        """Returns what is held, since nothing follows that could complete a literal."""
        self._state = 0
        return self._take(self._n_held)

    def _take(self, n: int) -> list[TextPiece]:
        taken: list[TextPiece] = []
        self._n_held -= n
        while n:
            piece = self._held.popleft()
            if len(piece.text) > n:
                piece, rest = cut(piece, n)
                self._held.appendleft(rest)
            taken.append(piece)
            n -= len(piece.text)
        return taken
