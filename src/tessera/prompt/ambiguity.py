"""Whether a regular expression can match one text in so many ways that a backtracking engine never ends.

It is decided on the automaton whose states are the characters of the pattern (Glushkov): a repeat is hostile
if two different ways lead round it on one text.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

_MAX_STEPS = 200_000
_SMALL_COUNT = 8  # `(…){3}` cannot explode; `(.*a){25}` can


class Hostile(ValueError):
    """Refused whatever it is for."""


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of the pattern: rewritten, and as a part of the automaton. `states` counts repeats fully."""

    text: str = ""
    first: frozenset[int] = frozenset()
    last: frozenset[int] = frozenset()
    nullable: bool = True
    states: int = 0


@dataclass(slots=True)
class Automaton:
    """`symbols` are bit sets of characters, one per state; `follow` leads from state to state."""

    symbols: list[int] = field(default_factory=list[int])
    follow: list[set[int]] = field(default_factory=list[set[int]])
    states: int = 0

    def state(self, text: str, symbol: int) -> Part:
        """A new one, for one of the characters of `symbol`."""
        self.symbols.append(symbol)
        self.follow.append(set())
        here = frozenset({len(self.symbols) - 1})
        return Part(text, here, here, nullable=False, states=1)

    def sequence(self, parts: Sequence[Part]) -> Part:
        """One after the other."""
        whole = Part()
        for part in parts:
            self._join(whole.last, part.first)
            whole = Part(
                whole.text + part.text,
                whole.first | part.first if whole.nullable else whole.first,
                whole.last | part.last if part.nullable else part.last,
                whole.nullable and part.nullable,
                whole.states + part.states,
            )
        return whole

    def repeat(self, body: Part, text: str, least: int, most: int | None) -> Part:
        """As often as that, which `text` says; raises `Hostile`."""
        if most is None or most > 1:
            loops = most is None or most > max(least, _SMALL_COUNT) or least > _SMALL_COUNT
            if loops and body.nullable:
                raise Hostile("it repeats what may be empty")
            if loops and any(self.follow[state] & body.first for state in body.last):
                raise Hostile("it repeats a repeat, and a text can be divided between them in many ways")
            self._join(body.last, body.first)
        times = max(1, least, most or 0)
        return Part(body.text + text, body.first, body.last, body.nullable or least == 0, body.states * times)

    def _join(self, last: frozenset[int], first: frozenset[int]) -> None:
        for state in last:
            self.follow[state] |= first

    def refuse_ambiguity(self) -> None:
        """Look, from every state, for two ways on one text that part and meet on a common round; raises
        `Hostile` if there are.
        """
        reached = [self._reached_from(state) for state in range(len(self.symbols))]
        budget = _MAX_STEPS
        for start, after in enumerate(reached):
            rounds = {state for state in after if start in reached[state]}
            seen: set[tuple[int, int]] = set()
            todo = [(start, start)] if len(rounds) > 1 else []
            while todo:
                left, right = todo.pop()
                for pair in product(self.follow[left] & rounds, self.follow[right] & rounds):
                    budget -= 1
                    if not budget:
                        raise Hostile("too ambiguous to check")
                    if pair in seen or not self.symbols[pair[0]] & self.symbols[pair[1]]:
                        continue
                    if pair[0] != pair[1]:
                        seen.add(pair)
                        todo.append(pair)
                    elif left != right:
                        raise Hostile("it repeats alternatives that match the same text")

    def _reached_from(self, start: int) -> set[int]:
        reached: set[int] = set()
        todo = [start]
        while todo:
            new = self.follow[todo.pop()] - reached
            reached |= new
            todo += new
        return reached
