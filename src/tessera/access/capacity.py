"""How many places there are at the engine, and which priorities they are reserved for."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Capacity:
    """`max_running` choices run at once. Up to `max_queued` requests of each priority wait, each no longer
    than `queue_deadline_s`. Lower priorities cannot take the `reserved` places of a priority.
    """

    max_running: int = 2**20
    max_queued: int = 2**20
    queue_deadline_s: float = math.inf
    reserved: Mapping[int, int] = field(default_factory=dict[int, int])

    def limits(self) -> Iterator[tuple[float, int]]:
        """The most places that priorities below a bound may hold together, by ascending bounds."""
        for priority in sorted(self.reserved):
            kept = sum(n for other, n in self.reserved.items() if other >= priority)
            yield priority, self.max_running - kept
        yield math.inf, self.max_running


def reserve(n_places: int, share: float, priorities: Iterable[int]) -> dict[int, int]:
    """Reserved places by priority: each above the lowest gets that share of all places, rounded up. At least
    half of the places are not reserved; if that leaves too few, higher priorities get theirs first.
    """
    _, *higher = sorted(set(priorities)) or [0]
    each = math.ceil(n_places * share)
    left = n_places // 2
    reserved: dict[int, int] = {}
    for priority in reversed(higher):
        reserved[priority] = min(each, left)
        left -= reserved[priority]
    return reserved
