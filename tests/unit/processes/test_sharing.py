"""What accounts share is lent in turns, and one of it is left for the next account."""

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.processes.sharing import FairPool, FairQueue, FairThreads

pytestmark = pytest.mark.anyio


ACCOUNTS = st.sampled_from("abc")


def taken(turns: FairQueue[str, int], of: dict[int, str], held: Counter[str]) -> int:
    item = turns.next(held)
    turns.take(of[item], item)
    return item


def test_accounts_that_hold_the_same_take_turns_and_each_keeps_its_order() -> None:
    turns, of = FairQueue[str, int](), {0: "a", 1: "a", 2: "a", 3: "b", 4: "c", 5: "b"}
    for item, account in of.items():
        turns.add(account, item)
    assert [taken(turns, of, Counter()) for _ in range(6)] == [0, 3, 4, 1, 5, 2]
    assert len(turns) == 0


def test_who_holds_less_goes_first() -> None:
    turns, of = FairQueue[str, int](), {0: "a", 1: "b", 2: "c"}
    for item, account in of.items():
        turns.add(account, item)
    held = Counter({"a": 2, "b": 1})
    assert turns.first_items(held) == [2, 1, 0]
    assert [taken(turns, of, held) for _ in range(3)] == [2, 1, 0]


@given(st.lists(ACCOUNTS, min_size=1, max_size=40), st.data())
def test_between_two_turns_of_an_account_all_that_wait_have_one(
    owners: list[str], data: st.DataObject
) -> None:
    turns, of = FairQueue[str, int](), dict(enumerate(owners))
    for item, account in of.items():
        turns.add(account, item)
    since: Counter[str] = Counter()
    while turns:
        if data.draw(st.booleans()) and len(turns) > 1:
            account, latest = turns.largest()
            assert turns.n_of(account) == max(turns.n_of(other) for other in "abc")
            turns.remove(account, latest)
            del of[latest]
        account = of[item := taken(turns, of, Counter())]
        del of[item]
        since.update(other for other in set(of.values()) if other != account)
        since[account] = 0
        assert max(since.values()) < 3
    assert not of


class Borrowers:
    """Threads that borrow, note it, and give back when the test lets them."""

    def __init__(self, n_items: int) -> None:
        self.shared = FairPool(range(n_items))
        self.n_items = n_items
        self.begun: list[str] = []
        self.held: dict[str, int] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def ask(self, *names: str) -> None:
        """Asks. The account is the first letter; the other letters distinguish its questions."""
        for name in names:
            self.gates[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._borrow(name))
        await self.settled()

    async def end(self, *names: str) -> None:
        for name in names:
            self.gates[name].set()
            await self.tasks.pop(name)
        await self.settled()

    async def cancel(self, name: str) -> None:
        task = self.tasks.pop(name)
        task.cancel()
        await asyncio.wait([task])
        await self.settled()

    async def settled(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(set(self.held.values())) == len(self.held)

    async def _borrow(self, name: str) -> None:
        async with self.shared.lend(name[0].encode()) as item:
            self.begun.append(name)
            self.held[name] = item
            try:
                await self.gates[name].wait()
            finally:
                del self.held[name]


@pytest.mark.parametrize("n_items", [2, 3, 5])
async def test_an_account_leaves_one_to_the_others(n_items: int) -> None:
    borrowers = Borrowers(n_items)
    await borrowers.ask(*(f"a{i}" for i in range(20)))
    assert len(borrowers.held) == n_items - 1
    for i in range(10):
        await borrowers.ask(f"b{i}")
        assert f"b{i}" in borrowers.held
        await borrowers.end(f"b{i}")
    await borrowers.end(*(f"a{i}" for i in range(20)))
    assert borrowers.begun[-20 + n_items :] == [f"a{i}" for i in range(n_items, 20)]


async def test_who_holds_a_single_one_goes_behind_those_that_wait() -> None:
    borrowers = Borrowers(1)
    await borrowers.ask("a0", "a1", "a2", "b0", "b1", "c0")
    for name in ("a0", "b0", "c0", "a1", "b1", "a2"):
        await borrowers.end(name)
    assert borrowers.begun == ["a0", "b0", "c0", "a1", "b1", "a2"]


@pytest.mark.parametrize("n_greedy", [2, 3, 6])
async def test_a_newcomer_waits_for_one_turn_of_each_account_at_most(n_greedy: int) -> None:
    borrowers = Borrowers(2)
    greedy = "abcdef"[:n_greedy]
    await borrowers.ask(*(f"{account}{i}" for i in range(9) for account in greedy))
    for _ in range(n_greedy):
        await borrowers.end(next(iter(borrowers.held)))
    await borrowers.ask("z")
    n_ended = 0
    while "z" not in borrowers.held:
        await borrowers.end(next(iter(borrowers.held)))
        n_ended += 1
    assert n_ended <= n_greedy - 1


async def test_of_two_that_are_greedy_the_first_to_end_makes_room() -> None:
    borrowers = Borrowers(2)
    await borrowers.ask("a0", "a1", "a2", "b0", "b1", "b2", "z0")
    assert sorted(borrowers.held) == ["a0", "b0"]
    await borrowers.end("b0")
    assert sorted(borrowers.held) == ["a0", "z0"]


async def test_what_has_no_account_is_its_own() -> None:
    shared = FairPool(range(3))
    async with shared.lend(None), shared.lend(None), shared.lend(None, 0):
        with pytest.raises(TimeoutError):
            async with shared.lend(None, 0):
                pass


@pytest.mark.parametrize("seed", range(20))
async def test_nothing_is_lost_whatever_is_cancelled(seed: int) -> None:
    chance = random.Random(seed)
    borrowers = Borrowers(chance.choice([1, 2, 4]))
    names = (f"{chance.choice('abc')}{i}" for i in range(10_000))
    for _ in range(200):
        match chance.randrange(3):
            case 0:
                await borrowers.ask(next(names))
            case 1 if borrowers.held:
                await borrowers.end(chance.choice([*borrowers.held]))
            case 2 if borrowers.tasks:
                await borrowers.cancel(chance.choice([*borrowers.tasks]))
            case _:
                pass
        most = max(1, borrowers.n_items - 1)
        by_account = Counter(name[0] for name in borrowers.held)
        assert max(by_account.values(), default=0) <= most
        waiting = {name[0] for name in borrowers.tasks if name not in borrowers.held}
        is_full = len(borrowers.held) == borrowers.n_items
        assert is_full or all(by_account[account] == most for account in waiting)
    while borrowers.tasks:
        await borrowers.cancel(next(iter(borrowers.tasks)))
    await borrowers.ask(*(f"{account}" for account in "pqrs"[: borrowers.n_items]))
    assert len(borrowers.held) == borrowers.n_items
    await borrowers.end(*borrowers.tasks.copy())


PATIENCE_S = 30


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
    threads, jobs = FairThreads(n_threads, "test"), Jobs()
    for number in range(20):
        threads.submit(b"greedy", jobs.held(f"greedy {number}"))
    jobs.until(lambda: len(jobs.begun) == n_threads - 1)
    for number in range(10):
        threads.submit(b"honest", jobs.quick(f"honest {number}"))
    jobs.until(lambda: len(jobs.ended) == 10)
    assert jobs.ended == [f"honest {number}" for number in range(10)]
    jobs.gate.set()
    jobs.until(lambda: len(jobs.ended) == 30)


def test_accounts_take_turns_at_a_single_thread() -> None:
    threads, jobs = FairThreads(1, "test"), Jobs()
    threads.submit(b"a", jobs.held("a0"))
    jobs.until(lambda: jobs.begun == ["a0"])
    for name in ("a1", "a2", "a3", "b1", "b2", "c1"):
        threads.submit(name[:1].encode(), jobs.quick(name))
    jobs.gate.set()
    jobs.until(lambda: len(jobs.ended) == 7)
    assert jobs.ended == ["a0", "a1", "b1", "c1", "a2", "b2", "a3"]
