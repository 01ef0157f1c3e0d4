"""Shortens a reply that a search has found.

A shortcut leaves the reply at some token, adds nothing or one other token with those that it forces, and
comes back further on, where the rest still fits. Since grammars are context-free, another value in the same
place is such a shortcut.
"""

from collections.abc import Iterator, Sequence

from llguidance import LLMatcher

from tessera.engine.scripted.walk import Moves

_NEAR = 32


class Shortcuts:
    """Looks for shortcuts, in at most `n_steps` steps."""

    def __init__(self, moves: Moves, n_steps: int) -> None:
        self._moves = moves
        self._n_steps = n_steps

    def shorten(self, begun: LLMatcher, reply: Sequence[int]) -> list[int]:
        """Returns a reply that is at most as long. `begun` has followed what comes before it."""
        ids = [*reply]
        masks = _masks(begun, ids)
        at = 0
        here = begun.deep_copy()
        while at < len(ids) and self._n_steps > 0:
            shorter = self._shortcut(here, ids, at, masks)
            if shorter is None:
                here.consume_token(ids[at])
                at += 1
            else:
                ids = shorter
                masks = _masks(begun, ids)
        return ids

    def _shortcut(
        self, here: LLMatcher, ids: Sequence[int], at: int, masks: Sequence[bytes]
    ) -> list[int] | None:
        for way, matcher in self._ways(here, masks[at], ids[at]):
            mask = matcher.compute_bitmask()
            for back in _places_ahead(at + len(way) + 1, len(ids)):
                if back < len(ids) and not mask[ids[back] // 8] >> ids[back] % 8 & 1:
                    continue
                self._n_steps -= 1
                rest = ids[back:]
                if matcher.validate_tokens([*rest]) == len(rest) and _completes(matcher, rest):
                    return [*ids[:at], *way, *rest]
        return None

    def _ways(self, here: LLMatcher, mask: bytes, taken: int) -> Iterator[tuple[list[int], LLMatcher]]:
        """Adds nothing, or one token with those that it forces; of tokens that lead alike, only the first."""
        yield [], here
        known: set[tuple[int, bytes]] = set()
        for id in self._moves.readable(self._moves.allowed(mask)):
            if id == taken:
                continue
            self._n_steps -= 1
            matcher = here.deep_copy()
            if not matcher.consume_token(id):
                continue
            forced = [] if matcher.is_accepting() else matcher.compute_ff_tokens()
            if forced:
                matcher.consume_tokens(forced)
            leads = (len(forced), matcher.compute_bitmask())
            if leads not in known:
                known.add(leads)
                yield [id, *forced], matcher


def _places_ahead(first: int, end: int) -> Iterator[int]:
    """All near places, and far ones at distances that double; the far ones first."""
    distance = 1
    while first + 2 * distance <= end:
        distance *= 2
    while distance > _NEAR:
        yield first + distance
        distance //= 2
    yield from range(min(first + _NEAR, end), first - 1, -1)


def _masks(begun: LLMatcher, ids: Sequence[int]) -> list[bytes]:
    """The masks of what may follow each prefix of `ids`."""
    matcher = begun.deep_copy()
    masks = [matcher.compute_bitmask()]
    for id in ids:
        matcher.consume_token(id)
        masks.append(matcher.compute_bitmask())
    return masks


def _completes(matcher: LLMatcher, rest: Sequence[int]) -> bool:
    copy = matcher.deep_copy()
    return (not rest or copy.consume_tokens([*rest])) and copy.is_accepting()
