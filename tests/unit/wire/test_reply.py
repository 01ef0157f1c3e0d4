"""Ids of replies."""

from itertools import pairwise

from tessera.wire.reply import new_id


def test_later_ids_are_greater_and_no_two_are_the_same() -> None:
    begun_s = 1_800_000_000.0
    ids = [new_id(begun_s + number / 1000) for number in range(0, 10_000_000, 999)]
    assert all(earlier < later for earlier, later in pairwise(ids))
    assert len({new_id(begun_s) for _ in range(10_000)}) == 10_000
    assert {len(id) for id in ids} == {len("chatcmpl-") + 24}
