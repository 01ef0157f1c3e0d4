from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tessera.processes.fair_queue import FairQueue

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
