import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import examples

from tessera.cluster.affinity import SLACK, Affinity, beginnings

REPLICAS = ("a", "b", "c", "d")
IDLE: dict[str, int] = dict.fromkeys(REPLICAS, 0)


def turns(*messages: str, salt: bytes = b"key") -> list[bytes]:
    return beginnings(salt, b"", [each.encode() for each in messages])


messages = st.lists(st.binary(max_size=5), max_size=6)


@given(messages, messages)
@examples(200)
def test_beginnings_are_equal_exactly_as_far_as_messages_are(one: list[bytes], other: list[bytes]) -> None:
    n_equal = next((i for i, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), None)
    if n_equal is None:
        n_equal = min(len(one), len(other))
    first, second = beginnings(b"s", b"", one), beginnings(b"s", b"", other)
    assert first[:n_equal] == second[:n_equal]
    assert set(first[n_equal:]).isdisjoint(second[n_equal:])


def test_beginnings_differ_by_key_and_by_tools() -> None:
    assert set(turns("Hello")).isdisjoint(turns("Hello", salt=b"other"))
    assert beginnings(b"key", b"tools", [b"Hello"]) != beginnings(b"key", b"", [b"Hello"])


def test_a_second_turn_goes_where_the_first_was_computed() -> None:
    affinity = Affinity()
    affinity.remember(turns("system", "Hello"), "c")
    assert affinity.choose(turns("system", "Hello", "Yes?", "Why"), IDLE)[0] == "c"
    assert affinity.choose(turns("system", "Hello", "Yes?", "Why"), IDLE | {"c": SLACK})[0] == "c"
    busy = affinity.choose(turns("system", "Hello", "Yes?", "Why"), IDLE | {"c": SLACK + 1})
    assert busy[-1] == "c"
    assert sorted(busy) == list(REPLICAS)


def test_the_longest_beginning_decides() -> None:
    affinity = Affinity()
    affinity.remember(turns("system", "Hello"), "a")
    affinity.remember(turns("system", "Goodbye"), "b")
    assert affinity.choose(turns("system", "Hello", "Yes?"), IDLE)[0] == "a"
    assert affinity.choose(turns("system", "Goodbye", "Yes?"), IDLE)[0] == "b"


def test_instructions_that_all_share_bind_no_conversation() -> None:
    affinity, loads = Affinity(), dict(IDLE)
    for number in range(40):
        hashes = turns("system", f"question {number}")
        replica = affinity.choose(hashes, loads)[0]
        affinity.remember(hashes, replica)
        loads[replica] += 1
    assert set(loads.values()) == {10}


def test_a_replica_that_is_gone_is_not_chosen() -> None:
    affinity = Affinity()
    affinity.remember(turns("Hello"), "gone")
    assert sorted(affinity.choose(turns("Hello"), IDLE)) == list(REPLICAS)
    assert affinity.choose(turns("Hello"), {}) == []


def test_an_unknown_conversation_goes_to_the_least_busy_and_every_front_agrees() -> None:
    chosen = Affinity().choose(turns("Hello"), {"a": 3, "b": 1, "c": 2, "d": 1})
    assert set(chosen[:2]) == {"b", "d"}
    assert chosen[2:] == ["c", "a"]
    assert Affinity().choose(turns("Hello"), IDLE) == Affinity().choose(turns("Hello"), IDLE)


def test_what_was_used_least_recently_is_forgotten() -> None:
    affinity = Affinity(most=2)
    hashes = [turns(text) for text in ("one", "two", "three")]
    ranked = [affinity.choose(each, IDLE) for each in hashes]
    for each, order in zip(hashes, ranked, strict=True):
        affinity.remember(each, order[-1])
    assert affinity.choose(hashes[0], IDLE) == ranked[0]
    assert [affinity.choose(each, IDLE)[0] for each in hashes[1:]] == [order[-1] for order in ranked[1:]]


def test_conversations_keep_their_replica_and_spread_evenly() -> None:
    """9 of 10 later turns hit, and no replica has 1.3 times the mean."""
    chance = random.Random(7)
    affinity = Affinity()
    running: list[str] = []
    home: dict[int, str] = {}
    asked, hits, n_later = Counter[str](), 0, 0
    for turn in range(4000):
        conversation = turn // 4 if chance.random() < 0.25 else chance.randrange(max(1, turn // 4))
        hashes = turns("system", *(str(conversation),) * 3)
        load = Counter(running)
        replica = affinity.choose(hashes, {each: load[each] for each in REPLICAS})[0]
        if conversation in home:
            n_later += 1
            hits += replica == home[conversation]
        home[conversation] = replica
        affinity.remember(hashes, replica)
        asked[replica] += 1
        running.append(replica)
        if len(running) > 16:
            running.pop(chance.randrange(len(running)))
    assert hits >= 0.9 * n_later
    assert max(asked.values()) <= 1.3 * sum(asked.values()) / len(REPLICAS)
