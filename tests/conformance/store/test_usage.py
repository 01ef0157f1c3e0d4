"""Usage, on every store."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from tessera.core.usage import INTERRUPTED, OPEN, GroupBy, LedgerEntry, Usage, UsageQuestion, UsageSum, day_of
from tessera.errors import StoreUnavailable
from tessera.store import accounts, instances, usage
from tessera.store.database import Database, Transaction, WriteConnection, transaction
from tessera.store.migration import downgrade, upgrade
from tessera.store.tables import ACCOUNTS, INSTANCES, USAGE, USAGE_DAILY, USAGE_DAILY_BY_ACCOUNT

DAY_S = 86_400
GROUPS: tuple[GroupBy, ...] = get_args(GroupBy)
BEGUN_S = 20_000 * DAY_S + 3600.0  # 2024-10-04


def entry(id: str = "chatcmpl-1", **fields: Any) -> LedgerEntry:
    return replace(LedgerEntry(id, "acc_1", "key_1", "m", "direct", True, BEGUN_S), **fields)


def written(opened: Database, *columns: str) -> list[tuple[Any, ...]]:
    with transaction(opened) as connection:
        return [
            tuple(row)
            for row in connection.execute(select(*(USAGE.c[name] for name in columns)).order_by("id"))
        ]


def write(opened: Database, *entries: LedgerEntry, instance: str = "i") -> None:
    with transaction(opened) as connection:
        usage.write(connection, instance, entries)


def test_a_row_follows_its_request_and_stays_as_it_ended(opened: Database) -> None:
    done = entry(usage=Usage(5, 2, 7, 3), finish="stop", waited_s=0.1, first_token_s=0.2, whole_s=0.3)
    columns = ("id", "day", "prompt_tokens", "completion_tokens", "finish", "whole_s")
    write(opened, entry())
    assert written(opened, *columns) == [("chatcmpl-1", "2024-10-04", 0, 0, OPEN, None)]
    write(opened, entry(usage=Usage(5, 2, 1, 0)))
    assert written(opened, *columns) == [("chatcmpl-1", "2024-10-04", 5, 1, OPEN, None)]
    for late in (done, done, entry(), entry(finish="client_gone"), entry(usage=Usage(5, 2, 9, 0))):
        write(opened, late, late)
        assert written(opened, *columns) == [("chatcmpl-1", "2024-10-04", 5, 7, "stop", 0.3)]


def test_what_a_dead_instance_left_is_closed_and_what_a_live_one_runs_is_not(opened: Database) -> None:
    with transaction(opened) as connection:
        instances.beat(connection, "dead", 100)
        instances.beat(connection, "alive", 100)
        instances.beat(connection, "alive", 170)
        usage.write(connection, "dead", [entry("a", usage=Usage(5, 0, 3, 0)), entry("b", finish="stop")])
        usage.write(connection, "alive", [entry("c")])
        usage.write(connection, "unknown", [entry("d")])
        usage.close_abandoned(connection, 120)
    columns = ("id", "finish", "completion_tokens")
    rows = [("a", INTERRUPTED, 3), ("b", "stop", 0), ("c", OPEN, 0), ("d", INTERRUPTED, 0)]
    assert written(opened, *columns) == rows
    # It was not dead: it may say how far its request has got, and how it ended, but what it said before is no
    # news.
    write(opened, entry("a", usage=Usage(5, 0, 3, 0)), entry("b", usage=Usage(9, 0, 9, 0)), instance="dead")
    assert written(opened, *columns) == rows
    write(opened, entry("a", usage=Usage(5, 0, 7, 0)), instance="dead")
    assert written(opened, *columns)[0] == ("a", OPEN, 7)
    with transaction(opened) as connection:
        usage.close_abandoned(connection, 120)
    assert written(opened, *columns)[0] == ("a", INTERRUPTED, 7)
    write(opened, entry("a", usage=Usage(5, 0, 9, 0), finish="length"), instance="dead")
    assert written(opened, *columns)[0] == ("a", "length", 9)
    with transaction(opened) as connection:
        instances.forget(connection, "alive")
        usage.close_abandoned(connection, 120)
        assert connection.execute(select(INSTANCES)).all() == []
    assert written(opened, "finish")[2] == (INTERRUPTED,)


def test_sums_are_by_day_account_key_or_model(opened: Database) -> None:
    with transaction(opened) as connection:
        connection.execute(ACCOUNTS.insert(), {"id": "acc_1", "name": "acme", "tier": "pro", "created_s": 1})
    used = Usage(10, 4, 6, 2)
    write(
        opened,
        entry("a", usage=used, finish="stop"),
        entry("b", usage=used, finish="engine_timeout", key_id="key_2"),
        entry("c", usage=used, begun_s=BEGUN_S + DAY_S, finish="tool_calls", model="n"),
        entry("d", account="operator", key_id="op", usage=used, begun_s=BEGUN_S + 2 * DAY_S),
    )

    def ask(*by: GroupBy, **question: Any) -> list[tuple[str | int, ...]]:
        with transaction(opened) as connection:
            sums = usage.add_up(connection, UsageQuestion(by or ("day",), **question))
        assert all(each.usage.cached_tokens == 4 * each.n_requests for each in sums)
        return [(*each.groups, each.n_requests, each.n_failed, each.usage.completion_tokens) for each in sums]

    by_day = [("2024-10-04", 2, 1, 12), ("2024-10-05", 1, 0, 6), ("2024-10-06", 1, 0, 6)]
    steps: list[Callable[[Transaction], int]] = [
        lambda _: 0,
        lambda connection: usage.count_ended(connection, 1),
        lambda connection: usage.count_ended(connection, 100),
        *(partial(usage.roll_up, before_day=f"2024-10-0{n}", at_most=100) for n in (4, 5, 6, 7)),
    ]
    for step in steps:
        with transaction(opened) as connection:
            step(connection)
        assert ask() == by_day
        assert ask("account") == [("acme", 3, 1, 18), ("operator", 1, 0, 6)]
        assert ask("key") == [("key_1", 2, 0, 12), ("key_2", 1, 1, 6), ("op", 1, 0, 6)]
        assert ask("model", named="acme") == [("m", 2, 1, 12), ("n", 1, 0, 6)]
        both = [("acme", "m", 2, 1, 12), ("acme", "n", 1, 0, 6), ("operator", "m", 1, 0, 6)]
        assert ask("account", "model") == both
        assert sorted((model, account, *rest) for account, model, *rest in both) == ask("model", "account")
        assert ask("day", "account", "key", "model")[0] == ("2024-10-04", "acme", "key_1", "m", 1, 0, 6)
        assert ask(account="acc_1", key="key_2") == [("2024-10-04", 1, 1, 6)]
        assert ask(since="2024-10-05", until="2024-10-05") == [("2024-10-05", 1, 0, 6)]
        assert ask(named="nobody") == ask(account="acme") == []
        assert ask(named="acc_1") == ask(account="acc_1") == ask(named="acme")
        assert ask("key", top=1) == [("key_1", 2, 0, 12)]
        assert ask("account", "model", top=1) == both[:1]
        assert ask("account", top=5) == [("acme", 3, 1, 18), ("operator", 1, 0, 6)]


entries = st.lists(
    st.builds(
        entry,
        st.integers(0, 12).map(lambda n: f"id-{n}"),
        begun_s=st.integers(0, 4).map(lambda n: BEGUN_S + n * DAY_S),
        key_id=st.sampled_from(["k1", "k2"]),
        finish=st.sampled_from(["stop", "length", "client_gone", "interrupted"]),
        usage=st.builds(Usage, *[st.integers(0, 1000)] * 4),
    ),
    max_size=8,
    unique_by=lambda each: each.id,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(entries, st.integers(0, 6), st.integers(0, 9)), max_size=4))
def test_nothing_is_lost_or_counted_twice_by_rolling_up(
    opened: Database, steps: list[tuple[list[LedgerEntry], int, int]]
) -> None:
    with transaction(opened) as connection:
        for table in (USAGE, USAGE_DAILY, USAGE_DAILY_BY_ACCOUNT):
            connection.execute(table.delete())
    kept: dict[str, LedgerEntry] = {}
    for n, (batch, days, n_counted) in enumerate(steps):
        fresh = [replace(each, id=f"{n}-{each.id}") for each in batch]
        kept |= {each.id: each for each in fresh}
        before = day_of(BEGUN_S + days * DAY_S)
        write(opened, *fresh, *fresh)
        with transaction(opened) as connection:
            usage.count_ended(connection, n_counted)
        write(opened, *fresh)
        n_rolled_up = 3
        while n_rolled_up == 3:
            with transaction(opened) as connection:
                n_rolled_up = usage.roll_up(connection, before, 3)
        assert all(day >= before for (day,) in written(opened, "day"))
    with transaction(opened) as connection:
        sums = usage.add_up(connection, UsageQuestion(("key",)))
        (*_, of_account) = usage.add_up(connection, UsageQuestion(("account",))) or [None]
    assert (of_account.n_requests if of_account else 0) == len(kept)
    assert sums == [
        expected(key, kept) for key in ("k1", "k2") if any(e.key_id == key for e in kept.values())
    ]


def expected(key: str, kept: dict[str, LedgerEntry]) -> UsageSum:
    mine = [each for each in kept.values() if each.key_id == key]
    counts = [
        sum(getattr(each.usage, name) for each in mine)
        for name in ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")
    ]
    n_failed = sum(each.finish not in ("stop", "length", "tool_calls") for each in mine)
    return UsageSum((key,), len(mine), n_failed, Usage(*counts))


def test_what_may_still_change_waits_for_its_deletion(opened: Database) -> None:
    used = Usage(5, 0, 7, 0)
    write(
        opened, entry("a"), entry("b", finish=INTERRUPTED, usage=used), entry("c", finish="stop", usage=used)
    )
    with transaction(opened) as connection:
        assert usage.count_ended(connection, 100) == 1
        assert usage.count_ended(connection, 100) == 0
    assert written(opened, "id", "counted") == [("a", False), ("b", False), ("c", True)]
    write(opened, entry("b", finish="stop", usage=Usage(5, 0, 9, 0)), entry("a", finish="stop", usage=used))
    for _ in range(2):
        with transaction(opened) as connection:
            usage.count_ended(connection, 100)
            (day,) = usage.add_up(connection, UsageQuestion())
        assert (day.n_requests, day.n_failed, day.usage.completion_tokens) == (3, 0, 23)


@pytest.mark.parametrize("erases_usage", [True, False])
def test_usage_is_erased_with_its_account_wherever_it_is_kept(opened: Database, erases_usage: bool) -> None:
    with transaction(opened) as connection:
        account = accounts.create(connection, "gone", "lite", by="test")
    mine = [entry(f"m-{n}", account=account.id, key_id="gone", finish="stop") for n in range(3)]
    write(opened, *mine, *(entry(f"o-{n}", finish="stop") for n in range(3)))
    with transaction(opened) as connection:
        usage.roll_up(connection, "2024-10-05", 2)
        usage.count_ended(connection, 2)
        accounts.delete(connection, account.id, erases_usage=erases_usage, by="test")
        cases: list[tuple[GroupBy, str, str]] = [
            ("account", account.id, "acc_1"),
            ("key", "gone", "key_1"),
        ]
        for by, mine_is, other_is in cases:
            sums = usage.add_up(connection, UsageQuestion((by,)))
            expected_sums = {other_is: 3} if erases_usage else {mine_is: 3, other_is: 3}
            assert {each.groups[0]: each.n_requests for each in sums} == expected_sums


def test_sums_stay_the_same_through_migrations(opened: Database) -> None:
    used = Usage(5, 4, 6, 1)
    write(
        opened,
        entry("a", finish="stop", usage=used),
        entry("b", finish="client_gone", usage=used, key_id="key_2"),
        entry("c", finish="length", usage=used, begun_s=BEGUN_S + DAY_S),
        entry("d", usage=used, begun_s=BEGUN_S + DAY_S),
    )
    with transaction(opened) as connection:
        usage.roll_up(connection, "2024-10-05", 1)
        usage.count_ended(connection, 2)
        before = {by: usage.add_up(connection, UsageQuestion((by,))) for by in GROUPS}
    downgrade(opened, "0002")
    with transaction(opened) as connection:
        # What the older version adds up: all rows, and the sums of days.
        old = "SELECT count(*), sum(completion_tokens) FROM usage"
        sums = "SELECT coalesce(sum(n_requests), 0), coalesce(sum(completion_tokens), 0) FROM usage_daily"
        rows = [connection.execute(text(each)).one() for each in (old, sums)]
        assert [sum(map(int, column)) for column in zip(*rows, strict=True)] == [4, 24]
        assert connection.scalar(text("SELECT min(n_failed) FROM usage_daily")) in (None, 0, 1)
    upgrade(opened)
    with transaction(opened) as connection:
        assert {by: usage.add_up(connection, UsageQuestion((by,))) for by in GROUPS} == before


def test_the_schema_goes_and_comes_back(opened: Database) -> None:
    write(opened, entry(begun_s=time.time()))
    downgrade(opened, "base")
    upgrade(opened)
    assert written(opened, "id") == []


def test_a_line_goes_on_after_what_it_could_not_do(opened: Database) -> None:
    line = WriteConnection(opened)

    def put(*ids: str) -> None:
        usage.write_down(line, "i", [entry(id) for id in ids])

    put("0")
    put("1", "2")
    with pytest.raises(IntegrityError):
        usage.write_down(line, "i", [entry("3"), entry("4", key_id=None)])
    put("5")
    with transaction(opened) as other:
        other.execute(text("ALTER TABLE usage RENAME TO elsewhere"))
    with pytest.raises(StoreUnavailable):
        put("6")
    with transaction(opened) as other:
        other.execute(text("ALTER TABLE elsewhere RENAME TO usage"))
    put("7")
    line.close()
    assert [id for (id,) in written(opened, "id")] == ["0", "1", "2", "5", "7"]
