"""A breadth-first search for the shortest reply that a grammar admits.

It searches over the bytes of a reply: level n holds prefixes of n bytes, and the first level with a complete
reply ends the search. A control token counts as one byte. Bytes that are forced are added together.

A matcher cannot tell whether two prefixes lead to the same state. Two prefixes of equal length are therefore
taken for equivalent if they look alike: the same tokens may follow, and the same after the likeliest byte. A
level keeps few prefixes that look alike. A search is wide if it keeps many.

The result is always a complete reply. It is the shortest one if prefixes that look alike are equivalent, or
if a level has room for all of them and the search ends within its steps. That holds for objects, arrays,
enumerations, bounds, lengths and common patterns of moderate size. The reply may be longer where only a
distant byte tells states apart, as under `multipleOf` with a large number.
"""

import heapq
import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from llguidance import LLMatcher

_FREE_TEXT = 8
"""Where more bytes than this may follow, words are tried too."""


class Width(NamedTuple):
    """How many prefixes that look alike a level keeps, and how many groups of them.

    A `quick` search remembers where bytes lead: from prefixes that look alike it tries only a few bytes,
    which lead to different places. It also drops a prefix that first reaches a place where a shorter one has
    been.
    """

    n_alike: int
    n_groups: int
    quick: bool


_Looks: TypeAlias = tuple[bytes, bytes]


@dataclass(slots=True)
class Prefix:
    """A prefix of a reply: the tokens `added` after those of `before`.

    Two numbers estimate which of several prefixes that look alike is further on. `run` is the number of bytes
    at its end that did not change its looks. `sameness` is the sum of the squares of `visits`, which count
    how often it had each of its looks: it grows fastest for a prefix that goes in circles. An `is_odd` prefix
    has a byte that is not readable ASCII; an `is_word` prefix ends with a word of the grammar.
    """

    matcher: LLMatcher
    before: "Prefix | None" = None
    added: Sequence[int] = ()
    length: int = 0
    run: int = 0
    looks: _Looks = (b"", b"")
    visits: Mapping[_Looks, int] = field(default_factory=dict["_Looks", int])
    sameness: int = 0
    is_odd: bool = False
    is_word: bool = False

    def ids(self) -> list[int]:
        parts: list[Sequence[int]] = []
        prefix: Prefix | None = self
        while prefix is not None:
            parts.append(prefix.added)
            prefix = prefix.before
        return list(itertools.chain.from_iterable(reversed(parts)))


_Level: TypeAlias = dict[_Looks, list[Prefix]]


@dataclass(frozen=True, slots=True)
class Moves:
    """What may be added to a prefix: tokens, the preferred ones first, and words."""

    ids: Sequence[int]
    closing: Sequence[int]
    odd: frozenset[int]
    words: Sequence[Sequence[int]] = ()
    _by_mask: dict[bytes, list[int]] = field(default_factory=dict[bytes, list[int]], init=False)

    def allowed(self, mask: bytes) -> list[int]:
        """The tokens that a mask allows. A grammar has few different masks, so each is read once."""
        found = self._by_mask.get(mask)
        if found is None:
            found = self._by_mask[mask] = [id for id in self.ids if mask[id // 8] >> id % 8 & 1]
        return found

    def readable(self, ids: list[int]) -> list[int]:
        """Those of `ids` that are readable ASCII or control tokens, or all of them if there are none."""
        return [id for id in ids if id not in self.odd] or ids

    def likely(self, mask: bytes) -> int | None:
        """The token that most likely begins the shortest way to the end."""
        closing = (id for id in self.closing if mask[id // 8] >> id % 8 & 1)
        return next(itertools.chain(closing, self.allowed(mask)), None)


@dataclass(slots=True)
class Walk:
    """One search for a reply of at most `longest` tokens. It gives up after `n_steps`, or at `deadline` in
    the thread's processor time.
    """

    moves: Moves
    width: Width
    longest: int
    n_steps: int
    deadline: float
    _levels: dict[int, _Level] = field(default_factory=dict[int, _Level])
    _lengths: list[int] = field(default_factory=list[int])
    _first_at: dict[_Looks, int] = field(default_factory=dict[_Looks, int])
    _leading: dict[_Looks, list[int]] = field(default_factory=dict[_Looks, list[int]])

    def find(self, matcher: LLMatcher) -> list[int] | None:
        """The tokens that complete the reply which `matcher` has followed so far; None if none were found."""
        if self.longest >= 0:
            self._add(Prefix(matcher))
        while self._lengths and self.n_steps > 0 and time.thread_time() < self.deadline:
            level = self._levels.pop(heapq.heappop(self._lengths))
            for prefix in itertools.chain.from_iterable(level.values()):
                if prefix.matcher.is_accepting():
                    return prefix.ids()
            for prefix in self._kept(level):
                self._go_on(prefix)
        return None

    def _kept(self, level: _Level) -> list[Prefix]:
        """The prefixes to continue. Of too many groups, those are kept that have been to most places."""
        ranked = sorted(
            level.values(), key=lambda group: (group[0].is_odd, -len(group[0].visits), group[0].sameness)
        )
        return [prefix for group in ranked[: self.width.n_groups] for prefix in group]

    def _go_on(self, prefix: Prefix) -> None:
        """Adds the prefixes that are longer by one word, or by one token."""
        looks = prefix.looks
        allowed = self.moves.allowed(looks[0])
        if prefix.is_word or len(allowed) > _FREE_TEXT:
            for word in self.moves.words:
                if prefix.matcher.validate_tokens([*word]) == len(word):
                    self._lengthen(prefix, [*word], is_word=True)
        if self.width.quick:
            allowed = self._leading.get(looks) or self.moves.readable(allowed)
        led_by: dict[tuple[_Looks, int], list[int]] = {}
        for id in allowed:
            if longer := self._lengthen(prefix, [id]):
                led_by.setdefault((longer.looks, len(longer.added)), []).append(id)
        self._leading.setdefault(looks, [id for alike in led_by.values() for id in alike[:2]])

    def _lengthen(self, before: Prefix, ids: list[int], *, is_word: bool = False) -> Prefix | None:
        self.n_steps -= 1
        matcher = before.matcher.deep_copy()
        if not matcher.consume_tokens(ids):
            return None
        forced = [] if matcher.is_accepting() else matcher.compute_ff_tokens()
        if forced and not matcher.consume_tokens(forced):
            return None
        added = [*ids, *forced]
        longer = Prefix(
            matcher,
            before,
            added,
            length=before.length + len(added),
            visits=before.visits,
            sameness=before.sameness,
            run=0 if forced else before.run + len(added),
            is_odd=before.is_odd or ids[0] in self.moves.odd,
            is_word=is_word,
        )
        if longer.length > self.longest:
            return None
        self._add(longer)
        return longer

    def _add(self, prefix: Prefix) -> None:
        prefix.looks = looks = self._looks(prefix.matcher)
        if prefix.before and looks != prefix.before.looks:
            prefix.run = 0
        n_visits = prefix.visits.get(looks, 0)
        is_late = self._first_at.setdefault(looks, prefix.length) < prefix.length
        if self.width.quick and is_late and not n_visits:
            return
        prefix.visits = {**prefix.visits, looks: n_visits + 1}
        prefix.sameness += 2 * n_visits + 1  # the next square
        if prefix.length not in self._levels:
            self._levels[prefix.length] = {}
            heapq.heappush(self._lengths, prefix.length)
        group = self._levels[prefix.length].setdefault(looks, [])
        group.append(prefix)
        if len(group) > self.width.n_alike:
            _drop_one(group)

    def _looks(self, matcher: LLMatcher) -> _Looks:
        """The tokens that may follow, and those that may follow the likeliest of them."""
        mask = matcher.compute_bitmask()
        likely = self.moves.likely(mask)
        if likely is None:
            return mask, b""
        ahead = matcher.deep_copy()
        ahead.consume_token(likely)
        return mask, repr(ahead.compute_ff_tokens()).encode() + ahead.compute_bitmask()


def _drop_one(group: list[Prefix]) -> None:
    """Drops one prefix. Half of those kept are furthest on by `run`, the others by `sameness`."""
    group.sort(key=lambda each: (each.is_odd, -each.run))
    half = (len(group) - 1) // 2
    group[half:] = sorted(group[half:], key=lambda each: (each.is_odd, each.sameness))
    group.pop()
