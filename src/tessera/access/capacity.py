"""How many places there are at the engine, and for whom."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from tessera.settings import DEFAULTS


@dataclass(frozen=True, slots=True)
class Capacity:
    """`max_running` choices run at once; up to `max_queued` requests of each priority wait, no longer than
    `queue_deadline_s`. `reserved` places of a priority cannot be taken by lower ones.
    """

    max_running: int = 2**20
    max_queued: int = DEFAULTS.max_queued
    queue_deadline_s: float = DEFAULTS.queue_deadline_s
    reserved: Mapping[int, int] = field(default_factory=dict[int, int])

    def limits(self) -> Iterator[tuple[float, int]]:
        """The most places that priorities below a bound may hold together, by ascending bounds."""
        for priority in sorted(self.reserved):
            kept = sum(n for other, n in self.reserved.items() if other >= priority)
            yield priority, self.max_running - kept
        yield math.inf, self.max_running


def reserve(n_places: int, share: float, priorities: Iterable[int]) -> dict[int, int]:
    """Reserved places by priority: for each above the lowest that share of all places, rounded up. Half of
    the places stay free for all; if they are too few for each priority, the highest has them first.
    """
    _, *higher = sorted(set(priorities)) or [0]
    each, left = math.ceil(n_places * share), n_places // 2
    reserved: dict[int, int] = {}
    for priority in reversed(higher):
        reserved[priority] = min(each, left)
        left -= reserved[priority]
    return reserved
