"""Which sequences give way when blocks, or places in a step, run out.

The lowest priority gives way first. Within a priority it is the account with the largest load: its share of
all places or of all blocks, whichever is larger (dominant resource fairness: Ghodsi et al. 2011). Blocks that
a running sequence still needs for its tokens count as its own. Of an account, the sequence that came last
gives way.

A running sequence that needs another block takes it from the first sequence in this order, which may be
itself. A sequence that is about to start displaces sequences of lower priorities, and those of accounts of
its own priority whose load is larger than the load of its account would be. So accounts cannot displace each
other in turn: each time, the larger of two loads becomes smaller. With k accounts of one priority, an account
that needs less than a k-th of everything does not wait.

So that large sequences are served too, one sequence of each priority is spared: the first of those that are
due (`TokenSequence.is_due`).
"""

from collections import Counter
from collections.abc import Callable, Collection

from tessera.engine.batch.sequence import TokenSequence


class Loads:
    """The load of each account with running sequences, out of `n_places` and `n_blocks` in all."""

    def __init__(self, running: Collection[TokenSequence], n_places: int, n_blocks: int) -> None:
        self._n_places, self._n_blocks = n_places, n_blocks
        self._places: Counter[bytes] = Counter()
        self._blocks: Counter[bytes] = Counter()
        for sequence in running:
            self._places[sequence.salt] += 1
            self._blocks[sequence.salt] += _n_needed(sequence)

    def of(self, account: bytes) -> int:
        """The account's load; 0 if it runs nothing."""
        return self._load(self._places[account], self._blocks[account])

    def with_newcomer(self, sequence: TokenSequence) -> int:
        """The load that the account of this sequence would have if the sequence ran too."""
        account = sequence.salt
        return self._load(self._places[account] + 1, self._blocks[account] + _n_needed(sequence))

    def _load(self, places: int, blocks: int) -> int:
        return max(places * self._n_blocks, blocks * self._n_places)


def find_victim(running: Collection[TokenSequence], loads: Loads) -> TokenSequence:
    """The sequence that gives its blocks to another running one. `running` must not be empty."""
    spared = _spared(running)
    return max(running, key=lambda each: (each.rank[0], each not in spared, loads.of(each.salt), each.rank))


def find_displaced(
    newcomer: TokenSequence, running: Collection[TokenSequence], loads: Loads
) -> TokenSequence | None:
    """The running sequence that gives way first to one that is about to start; None if none does."""
    after, spared = loads.with_newcomer(newcomer), _spared(running)

    def gives_way(each: TokenSequence) -> bool:
        if each.rank[0] != newcomer.rank[0]:
            return each.rank[0] > newcomer.rank[0]
        return each.salt != newcomer.salt and each not in spared and loads.of(each.salt) > after

    candidates = filter(gives_way, running)
    return max(candidates, key=lambda each: (each.rank[0], loads.of(each.salt), each.rank), default=None)


def make_way(
    newcomer: TokenSequence,
    running: Collection[TokenSequence],
    loads_of: Callable[[Collection[TokenSequence]], Loads],
    is_room: Callable[[list[TokenSequence]], bool],
) -> list[TokenSequence] | None:
    """The sequences that give way to a newcomer, or None if it must wait. `is_room` says whether it fits
    beside the given sequences.
    """
    rest, victims = [*running], list[TokenSequence]()
    while not is_room(rest):
        victim = find_displaced(newcomer, rest, loads_of(rest))
        if victim is None:
            return None
        rest.remove(victim)
        victims.append(victim)
    return victims


def _spared(running: Collection[TokenSequence]) -> Collection[TokenSequence]:
    """The first sequence of each priority that is due."""
    spared: dict[int, TokenSequence] = {}
    for sequence in sorted(filter(lambda each: each.is_due, running), key=lambda each: each.rank):
        spared.setdefault(sequence.rank[0], sequence)
    return spared.values()


def _n_needed(sequence: TokenSequence) -> int:
    return len(sequence.blocks) + sequence.n_missing_blocks(len(sequence.tokens))
