import asyncio
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.access.capacity import Capacity, reserve
from tessera.access.queue import FAIR_EVERY, MAX_RETRY_AFTER_S, EngineQueue, Places
from tessera.errors import EngineOverloaded

pytestmark = pytest.mark.anyio


async def settle() -> None:
    """Lets every task run that can."""
    for _ in range(5):
        await asyncio.sleep(0)


class Requests:
    """Requests that join, wait and leave as the test decides, and the state of each. Places that were just
    granted count as running.
    """

    def __init__(self, capacity: Capacity) -> None:
        self.now_s = 0.0
        self.queue = EngineQueue(capacity, clock=lambda: self.now_s)
        self.places: dict[int, Places] = {}
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.order: list[int] = []
        self.refused: dict[int, EngineOverloaded] = {}

    @property
    def running(self) -> list[int]:
        return [name for name, place in self.places.items() if place.state == "granted"]

    @property
    def waiting(self) -> list[int]:
        return [name for name, place in self.places.items() if place.state == "waiting"]

    def held(self, *, below: float = 1000) -> int:
        """The places that priorities below that one hold."""
        return sum(self.places[name].n for name in self.running if self.places[name].priority < below)

    async def come(self, name: int, priority: int = 0, n: int = 1, account: str = "a") -> None:
        async def ask() -> None:
            try:
                place = self.places[name] = self.queue.join(account, priority, n)
            except EngineOverloaded as error:
                self.refused[name] = error
                return
            try:
                if place.state == "waiting":
                    await self.queue.wait(place)
                self.order.append(name)
                return
            except BaseException as error:
                self.queue.leave(place)
                if not isinstance(error, EngineOverloaded):
                    raise
                self.refused[name] = error

        self.tasks[name] = asyncio.create_task(ask())
        await settle()

    async def leave(self, name: int, held_s: float = 1.0) -> None:
        self.now_s = self.places[name].granted_s + held_s
        self.queue.leave(self.places.pop(name))
        await settle()


async def test_more_than_can_run_wait_and_more_than_may_wait_are_refused() -> None:
    requests = Requests(Capacity(max_running=2, max_queued=3))
    for name in range(6):
        await requests.come(name)
    assert requests.order == [0, 1]
    assert requests.queue.n_waiting == 3
    assert {name: error.code for name, error in requests.refused.items()} == {5: "engine_overloaded"}
    assert isinstance(requests.queue.refusal("a", 0), EngineOverloaded)
    assert requests.queue.refusal("a", 1) is None  # the queue of another priority has room
    await requests.leave(0)
    assert requests.order == [0, 1, 2]


async def test_a_queue_without_room_refuses_at_once_what_cannot_run() -> None:
    requests = Requests(Capacity(max_running=1, max_queued=0))
    await requests.come(0)
    await requests.come(1)
    assert list(requests.refused) == [1]
    assert isinstance(requests.queue.refusal("a", 0), EngineOverloaded)
    await requests.leave(0)
    assert requests.queue.refusal("a", 0) is None
    await requests.come(2)
    assert requests.order == [0, 2]


async def test_the_higher_priority_goes_first_and_the_lower_does_not_starve() -> None:
    requests = Requests(Capacity(max_running=1, max_queued=100))
    await requests.come(0)
    await requests.come(1, priority=1)
    for name in range(2, 22):
        await requests.come(name, priority=4)
    for last in range(20):
        await requests.leave(requests.order[-1])
        assert last > 0 or requests.order[-1] == 2
    assert requests.order.index(1) <= FAIR_EVERY
    others = [name for name in requests.order if name > 1]
    assert all(earlier < later for earlier, later in pairwise(others))


async def test_accounts_of_a_priority_take_turns() -> None:
    requests = Requests(Capacity(max_running=1))
    for name in range(20):
        await requests.come(name, account="many")
    await requests.come(20, account="few")
    await requests.come(21, account="other")
    for _ in range(4):
        await requests.leave(requests.order[-1])
    assert requests.order == [0, 1, 20, 21, 2]


async def test_an_account_that_holds_fewer_places_goes_first() -> None:
    requests = Requests(Capacity(max_running=16))
    for name in range(6):
        await requests.come(name, n=8, account="large")
    for name in range(10, 18):
        await requests.come(name, account="small")
    assert requests.running == [0, 1]
    await requests.leave(0)
    # The eight requests with one choice hold no more together than the other's one that still runs.
    assert requests.running == [1, *range(10, 18)]


async def test_a_full_queue_takes_from_the_account_that_has_most_of_it() -> None:
    requests = Requests(Capacity(max_running=1, max_queued=4))
    for name in range(5):
        await requests.come(name, account="many")
    assert requests.queue.refusal("few", 0) is None
    for name in range(10, 13):
        await requests.come(name, account="few")
    assert (requests.waiting, list(requests.refused)) == ([1, 2, 10, 11], [4, 3, 12])
    assert {error.code for error in requests.refused.values()} == {"engine_overloaded"}


@pytest.mark.parametrize("n_low", [1, 3, 8])
@pytest.mark.parametrize("n_high", [1, 2, 4, 8])
async def test_the_highest_priority_runs_at_once_whatever_lower_ones_do(n_low: int, n_high: int) -> None:
    capacity = Capacity(80, reserved=reserve(80, 0.1, [1, 2, 3, 4]))
    requests = Requests(capacity)
    for name in range(200):
        await requests.come(name, 1 + name % 3, n_low, account=f"low-{name % 5}")
    await requests.leave(requests.running[0])
    for i in range(8 // n_high):
        await requests.come(1000 + i, 4, n_high, "high")
        assert requests.places[1000 + i].state == "granted"
    assert requests.queue.n_running <= 80


async def test_more_choices_than_there_are_places_take_all_of_them() -> None:
    requests = Requests(Capacity(4, reserved={2: 1}))
    await requests.come(0, priority=1, n=8)
    assert requests.queue.n_running == 3
    await requests.come(1, priority=2, n=1)
    await requests.come(2, priority=1)
    assert (requests.running, requests.waiting) == ([0, 1], [2])
    await requests.leave(0)
    await requests.come(3, priority=2, n=8)
    assert requests.waiting == [3]
    await requests.leave(1)
    await requests.leave(2)
    assert (requests.running, requests.queue.n_running) == ([3], 4)


async def test_a_request_with_many_choices_is_not_overtaken_for_ever() -> None:
    requests = Requests(Capacity(8, reserved={4: 1}))
    for name in range(8):
        await requests.come(name, priority=4)
    await requests.come(100, n=7)
    for name in range(8, 60):
        await requests.come(name, priority=4)
        await requests.leave(requests.running[0])
    assert 100 in requests.order
    # One place, the reserved one, went on being used meanwhile.
    assert requests.order.index(100) <= 8 + FAIR_EVERY + 8


async def test_nothing_is_kept_for_a_priority_that_has_all_it_may_have() -> None:
    requests = Requests(Capacity(12, reserved={2: 2, 4: 2}))
    for name in range(12):
        await requests.come(name, priority=1)
    for name in range(100, 150):
        await requests.come(name, priority=4)
    for name in range(100, 146):
        await requests.leave(name)
        assert sum(name >= 100 for name in requests.running) == 4


@pytest.mark.parametrize(
    ("n_places", "share", "reserved"),
    [
        (80, 0.1, {4: 8, 3: 8, 2: 8}),
        (80, 0.0, {4: 0, 3: 0, 2: 0}),
        (8, 0.1, {4: 1, 3: 1, 2: 1}),
        (4, 0.1, {4: 1, 3: 1, 2: 0}),
        (1, 0.1, {4: 0, 3: 0, 2: 0}),
        (10, 1.0, {4: 5, 3: 0, 2: 0}),
    ],
)
async def test_places_are_reserved_above_the_lowest_and_half_are_free_for_all(
    n_places: int, share: float, reserved: dict[int, int]
) -> None:
    assert reserve(n_places, share, [1, 4, 2, 3, 4]) == reserved
    assert reserve(n_places, share, [3]) == reserve(n_places, share, []) == {}


async def test_the_wait_ends_with_an_error() -> None:
    requests = Requests(Capacity(max_running=1, queue_deadline_s=0.01))
    await requests.come(0)
    await requests.come(1)
    await requests.tasks[1]
    assert [error.code for error in requests.refused.values()] == ["queue_timeout"]
    assert requests.queue.n_waiting == 0
    await requests.leave(0)
    assert requests.queue.n_running == 0


async def test_a_place_granted_to_one_who_leaves_goes_to_the_next() -> None:
    requests = Requests(Capacity(max_running=1))
    for name in range(3):
        await requests.come(name)
    requests.queue.leave(requests.places.pop(0))  # grants the place to 1, who has not heard of it yet
    requests.tasks[1].cancel()
    await settle()
    assert requests.order == [0, 2]
    assert requests.queue.n_running == 1


@pytest.mark.parametrize("n_steps", range(8))
async def test_a_request_that_is_cancelled_at_any_moment_leaves_nothing(n_steps: int) -> None:
    queue = EngineQueue(Capacity(max_running=2))
    first = queue.join("a", 0, 2)

    async def ask() -> None:
        place = queue.join("b", 0, 2)
        try:
            await queue.wait(place)
            await asyncio.sleep(0)
        finally:
            queue.leave(place)

    task = asyncio.create_task(ask())
    for step in range(n_steps):
        await asyncio.sleep(0)
        if step == 3:
            queue.leave(first)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    queue.leave(first)
    assert (queue.n_running, queue.n_waiting) == (0, 0)


@pytest.mark.parametrize(("held_s", "expected_s"), [(0.01, 1), (5.0, 10), (10_000.0, MAX_RETRY_AFTER_S)])
async def test_retry_after_follows_the_pace(held_s: float, expected_s: int) -> None:
    requests = Requests(Capacity(max_running=1, max_queued=1))
    for _ in range(200):
        await requests.come(0)
        await requests.leave(0, held_s)
    for name in range(3):
        await requests.come(name)
    assert requests.refused[2].retry_after_s == pytest.approx(expected_s, rel=0.1)


Step = tuple[str, int, int]
STEPS = st.lists(
    st.tuples(st.sampled_from(["come", "come", "leave", "vanish"]), st.integers(0, 50), st.integers(1, 8)),
    max_size=60,
)
RESERVED = st.dictionaries(st.integers(1, 2), st.integers(0, 3))


@given(STEPS, st.integers(8, 12), st.integers(0, 4), RESERVED)
async def test_whatever_happens_places_are_kept_and_given_back(
    steps: list[Step], max_running: int, max_queued: int, reserved: dict[int, int]
) -> None:
    requests = Requests(Capacity(max_running, max_queued, reserved=reserved))
    pick: Callable[[list[int], int], int] = lambda names, i: names[i % len(names)]  # noqa: E731
    for name, (step, number, n) in enumerate(steps):
        if step == "come":
            own = sum(
                requests.places[other].n for other in requests.running if requests.places[other].priority == 2
            )
            is_first = not any(requests.places[other].priority == 2 for other in requests.waiting)
            await requests.come(name, priority=number % 3, n=n, account=f"{number % 5}")
            if number % 3 == 2 and is_first and own + n <= reserved.get(2, 0):
                assert requests.places[name].state == "granted"
        elif step == "leave" and requests.running:
            await requests.leave(pick(requests.running, number))
        elif step == "vanish" and requests.waiting:
            gone = pick(requests.waiting, number)
            requests.tasks[gone].cancel()
            await settle()
            del requests.places[gone]
        assert requests.queue.n_running == requests.held() <= max_running
        for priority in reserved:
            kept = sum(n for other, n in reserved.items() if other >= priority)
            assert requests.held(below=priority) <= max_running - kept
        assert requests.queue.n_waiting == len(requests.waiting)
        assert not requests.waiting or requests.running
        in_queues = Counter(requests.places[name].priority for name in requests.waiting)
        assert all(n <= max_queued for n in in_queues.values())
    while requests.running:
        await requests.leave(requests.running[0])
    assert (requests.queue.n_running, requests.queue.n_waiting) == (0, 0)
    assert all(task.done() for task in requests.tasks.values())


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 8)), min_size=2, max_size=8),
    st.integers(8, 20),
    RESERVED,
)
async def test_every_account_that_goes_on_asking_is_answered(
    accounts: list[tuple[int, int]], max_running: int, reserved: dict[int, int]
) -> None:
    """Accounts of a priority and an `n` each, all of which always have two requests that wait."""
    queue = EngineQueue(Capacity(max_running, reserved=reserved))
    running: list[Places] = []
    waiting = [(i, queue.join(str(i), *accounts[i])) for i in range(len(accounts)) for _ in range(2)]
    granted: Counter[int] = Counter()
    for _ in range(len(accounts) * FAIR_EVERY * 8):
        for i, place in [each for each in waiting if each[1].state == "granted"]:
            waiting.remove((i, place))
            running.append(place)
            granted[i] += 1
            waiting.append((i, queue.join(str(i), *accounts[i])))
        queue.leave(running.pop(0))
    assert set(granted) == set(range(len(accounts)))
    for priority in {priority for priority, _ in accounts}:
        peers = [granted[i] for i, (own, n) in enumerate(accounts) if (own, n) == (priority, 1)]
        assert not peers or max(peers) - min(peers) <= max(peers) / 2 + FAIR_EVERY
