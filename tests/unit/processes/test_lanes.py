import threading
from collections.abc import Callable

import pytest

from tessera.processes.lanes import Lane

PATIENCE_S = 60


class Jobs:
    """Jobs that wait for their gate, and note when they begin and end."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.changed = threading.Condition()
        self.gate = threading.Event()

    def held(self, name: str) -> Callable[[], None]:
        return lambda: self._run(name, waits=True)

    def quick(self, name: str) -> Callable[[], None]:
        return lambda: self._run(name, waits=False)

    def until(self, condition: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, PATIENCE_S)

    def _run(self, name: str, *, waits: bool) -> None:
        with self.changed:
            self.begun.append(name)
            self.changed.notify_all()
        if waits:
            assert self.gate.wait(PATIENCE_S)
        with self.changed:
            self.ended.append(name)
            self.changed.notify_all()


@pytest.mark.parametrize("n_threads", [2, 3, 5])
def test_an_account_leaves_a_thread_to_the_others(n_threads: int) -> None:
    lane, jobs = Lane(n_threads, "test"), Jobs()
    for number in range(20):
        lane.submit(b"greedy", jobs.held(f"greedy {number}"))
    jobs.until(lambda: len(jobs.begun) == n_threads - 1)
    for number in range(10):
        lane.submit(b"honest", jobs.quick(f"honest {number}"))
    jobs.until(lambda: len(jobs.ended) == 10)
    assert jobs.ended == [f"honest {number}" for number in range(10)]
    jobs.gate.set()
    jobs.until(lambda: len(jobs.ended) == 30)


def test_accounts_take_turns_at_a_single_thread() -> None:
    lane, jobs = Lane(1, "test"), Jobs()
    lane.submit(b"a", jobs.held("a0"))
    jobs.until(lambda: jobs.begun == ["a0"])
    for name in ("a1", "a2", "a3", "b1", "b2", "c1"):
        lane.submit(name[:1].encode(), jobs.quick(name))
    jobs.gate.set()
    jobs.until(lambda: len(jobs.ended) == 7)
    assert jobs.ended == ["a0", "a1", "b1", "c1", "a2", "b2", "a3"]
