import asyncio
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.access.admission import FAIR_EVERY, MAX_RETRY_AFTER_S, Admission, Capacity
from tessera.errors import EngineOverloaded

pytestmark = pytest.mark.anyio


async def settle() -> None:
    """Let every task that can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


class Crowd:
    """Requests that enter, wait and leave as they are told, and what is known of each."""

    def __init__(self, capacity: Capacity) -> None:
        self.door = Admission(capacity)
        self.running: dict[int, int] = {}
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.order: list[int] = []
        self.refused: list[EngineOverloaded] = []

    async def come(self, name: int, priority: int = 0, n: int = 1) -> None:
        async def enter() -> None:
            try:
                if not self.door.enter(n):
                    await self.door.wait(priority, n)
            except EngineOverloaded as error:
                self.refused.append(error)
                return
            self.running[name] = n
            self.order.append(name)

        self.tasks[name] = asyncio.create_task(enter())
        await settle()

    async def leave(self, name: int) -> None:
        self.door.leave(self.running.pop(name), held_s=1.0)
        await settle()


async def test_more_than_can_run_wait_and_more_than_may_wait_are_refused() -> None:
    crowd = Crowd(Capacity(max_running=2, max_queued=3))
    for name in range(6):
        await crowd.come(name)
    assert crowd.order == [0, 1]
    assert crowd.door.n_waiting == 3
    assert [error.code for error in crowd.refused] == ["engine_overloaded"]
    with pytest.raises(EngineOverloaded):
        crowd.door.check(0)
    crowd.door.check(1)  # the line of another priority has room
    await crowd.leave(0)
    assert crowd.order == [0, 1, 2]


async def test_a_line_without_room_refuses_at_once_what_cannot_run() -> None:
    crowd = Crowd(Capacity(max_running=1, max_queued=0))
    await crowd.come(0)
    await crowd.come(1)
    assert len(crowd.refused) == 1
    await crowd.leave(0)
    await crowd.come(2)
    assert crowd.order == [0, 2]


async def test_the_higher_priority_goes_first_and_the_lower_does_not_starve() -> None:
    crowd = Crowd(Capacity(max_running=1, max_queued=100))
    await crowd.come(0)
    await crowd.come(1, priority=1)
    for name in range(2, 22):
        await crowd.come(name, priority=4)
    for last in range(20):
        await crowd.leave(crowd.order[-1])
        assert last > 0 or crowd.order[-1] == 2
    assert crowd.order.index(1) <= FAIR_EVERY
    others = [name for name in crowd.order if name > 1]
    assert all(earlier < later for earlier, later in pairwise(others))


async def test_the_wait_ends_with_an_error() -> None:
    crowd = Crowd(Capacity(max_running=1, queue_deadline_s=0.01))
    await crowd.come(0)
    await crowd.come(1)
    await crowd.tasks[1]
    assert [error.code for error in crowd.refused] == ["queue_timeout"]
    assert crowd.door.n_waiting == 0
    await crowd.leave(0)
    assert crowd.door.n_running == 0


async def test_a_place_granted_to_one_who_leaves_goes_to_the_next() -> None:
    crowd = Crowd(Capacity(max_running=1))
    for name in range(3):
        await crowd.come(name)
    crowd.door.leave(crowd.running.pop(0), held_s=1.0)  # grants the place to 1, who has not heard of it yet
    crowd.tasks[1].cancel()
    await settle()
    assert crowd.order == [0, 2]
    assert crowd.door.n_running == 1


@pytest.mark.parametrize(("held_s", "expected_s"), [(0.01, 1), (5.0, 10), (10_000.0, MAX_RETRY_AFTER_S)])
async def test_retry_after_follows_the_pace(held_s: float, expected_s: int) -> None:
    crowd = Crowd(Capacity(max_running=1, max_queued=1))
    for _ in range(200):
        await crowd.come(0)
        crowd.door.leave(crowd.running.pop(0), held_s)
    for name in range(3):
        await crowd.come(name)
    assert crowd.refused[0].retry_after_s == pytest.approx(expected_s, rel=0.1)


Step = tuple[str, int, int]
STEPS = st.lists(
    st.tuples(st.sampled_from(["come", "leave", "vanish"]), st.integers(0, 50), st.integers(1, 3)),
    max_size=60,
)


@given(STEPS, st.integers(1, 4), st.integers(0, 4))
async def test_whatever_happens_places_are_kept_and_given_back(
    steps: list[Step], max_running: int, max_queued: int
) -> None:
    crowd = Crowd(Capacity(max_running, max_queued))
    pick: Callable[[list[int], int], int] = lambda names, i: names[i % len(names)]  # noqa: E731
    for name, (step, number, n) in enumerate(steps):
        waiting = [name for name, task in crowd.tasks.items() if not task.done()]
        if step == "come":
            await crowd.come(name, priority=number % 3, n=n)
        elif step == "leave" and crowd.running:
            await crowd.leave(pick([*crowd.running], number))
        elif step == "vanish" and waiting:
            crowd.tasks[pick(waiting, number)].cancel()
            await settle()
        waiting = [name for name, task in crowd.tasks.items() if not task.done()]
        assert crowd.door.n_running == sum(crowd.running.values())
        assert crowd.door.n_waiting == len(waiting)
        assert not waiting or crowd.door.n_running >= max_running  # nobody waits beside a free place
        assert crowd.door.n_running < max_running + 3  # the last one in may take more than is left
        assert len(waiting) <= 3 * max_queued
    while crowd.running:
        await crowd.leave(next(iter(crowd.running)))
    assert (crowd.door.n_running, crowd.door.n_waiting) == (0, 0)
    assert all(task.done() for task in crowd.tasks.values())
