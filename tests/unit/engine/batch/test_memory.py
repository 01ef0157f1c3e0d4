"""What grammars take is bounded, by a measure that the tests make up."""

import gc
from dataclasses import dataclass

from tessera.engine.batch.memory import Memory, heap_bytes, resident_bytes

MOST = 1_000


@dataclass(eq=False)
class Following:
    spent_s: float = 0.0
    is_slow: bool = False
    n_bytes: int = 0


class Heap:
    """The allocated memory: weights, kernels, kept grammars, and those of requests."""

    def __init__(self) -> None:
        self.weights, self.kernels, self.kept = 50_000, 0, 0
        self.followed: list[Following] = []
        self.n_dropped = 0
        self.memory = Memory(self, MOST, self.measure)

    def measure(self) -> int | None:
        return self.weights + self.kernels + self.kept + sum(each.n_bytes for each in self.followed)

    def drop(self) -> None:
        self.n_dropped += 1
        self.kept = 0

    def look(self) -> Following | None:
        return self.memory.look(self.followed)


def test_as_long_as_they_fit_grammars_are_kept() -> None:
    heap = Heap()
    heap.kept = MOST
    assert heap.look() is None
    assert (heap.n_dropped, heap.memory.grammar_bytes) == (0, MOST)


def test_kept_grammars_are_dropped_before_a_request_is_ended() -> None:
    heap = Heap()
    heap.kept, heap.followed = MOST, [Following(9.0, True, n_bytes=MOST // 2)]
    assert heap.look() is None
    assert (heap.n_dropped, heap.memory.grammar_bytes) == (1, MOST // 2)


def test_the_request_with_the_slowest_masks_is_ended_and_only_then_the_next() -> None:
    heap = Heap()
    worst, next_one = Following(9.0, True, n_bytes=MOST), Following(5.0, True, n_bytes=MOST)
    quick = Following(100.0, False, n_bytes=MOST // 2)
    heap.followed = [quick, next_one, worst]
    for expected in (worst, next_one, None):
        assert heap.look() is expected
        heap.followed = [each for each in heap.followed if each is not expected]
    assert heap.followed == [quick]
    assert heap.memory.grammar_bytes <= MOST


def test_memory_never_passes_the_bound_by_more_than_what_grows_between_two_looks() -> None:
    heap = Heap()
    for number in range(200):
        heap.kept += 90
        heap.followed.append(Following(spent_s=number, is_slow=True))
        for each in heap.followed:
            each.n_bytes += 7
        while ended := heap.look():
            heap.followed.remove(ended)
        assert heap.kept + sum(each.n_bytes for each in heap.followed) <= MOST


def test_what_is_left_when_nobody_follows_a_grammar_is_not_theirs() -> None:
    heap = Heap()
    heap.weights += 5_000
    assert heap.look() is None
    assert heap.memory.grammar_bytes == 0
    heap.kept = MOST // 2
    heap.look()
    assert (heap.n_dropped, heap.memory.grammar_bytes) == (1, MOST // 2)


def test_kernels_are_counted_once_for_every_number_of_rows() -> None:
    heap, seen = Heap(), set[int]()
    for n_rows in (4, 8, 4, 8, 16, 4):
        with heap.memory.making_kernels(n_rows, 1):
            heap.kernels += 0 if n_rows in seen else 100
            seen.add(n_rows)
    heap.kept = 40
    heap.look()
    assert heap.memory.kernel_bytes == 300
    assert heap.memory.grammar_bytes == 40


def test_where_nobody_counts_nothing_is_dropped() -> None:
    heap = Heap()
    memory = Memory(heap, MOST, lambda: None)
    with memory.making_kernels(1, 1):
        heap.kept = 10 * MOST
    assert memory.look([Following(9.0, True)]) is None
    assert (heap.n_dropped, memory.kernel_bytes, memory.grammar_bytes) == (0, 0, 0)


def test_the_measures_of_this_process_follow_what_it_allocates() -> None:
    gc.collect()  # what earlier tests left must not be freed between the two measures
    before = heap_bytes()
    assert before is None or before > 0
    much = bytearray(2**26)
    after = heap_bytes()
    # Other threads of this process may free a little in between, so a part of what is allocated must show.
    assert before is None or (after or 0) - before >= len(much) // 2
    resident = resident_bytes()
    assert resident is None or resident > 0
