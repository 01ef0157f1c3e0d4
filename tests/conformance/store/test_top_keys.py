"""The keys with the most tokens: the same as by adding up everything, with less work."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, insert, text

from tessera.core.usage import LedgerEntry, Usage, UsageQuestion, UsageSum, day_of
from tessera.store import top_keys, usage
from tessera.store.database import Database, Transaction, open_database, transaction
from tessera.store.migration import differences, downgrade, upgrade
from tessera.store.tables import USAGE, USAGE_DAILY, USAGE_DAILY_BY_ACCOUNT

DAY_S = 86_400
BEGUN_S = 20_000 * DAY_S + 3600.0
DAYS = [day_of(BEGUN_S + n * DAY_S) for n in range(5)]

used = st.tuples(
    st.integers(0, 9),  # the key
    st.integers(0, 4),  # the day
    st.sampled_from(["m", "n"]),
    st.sampled_from(["stop", "client_gone", "interrupted", "open"]),
    st.integers(0, 3),
    st.integers(0, 3),
)


def by_hand(connection: Transaction, question: UsageQuestion, n_keys: int) -> list[UsageSum]:
    """All keys, sorted here."""
    sums = usage.add_up(connection, replace(question, top=None))
    return sorted(sums, key=lambda each: (-each.usage.total_tokens, each.groups))[:n_keys]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    requests=st.lists(used, max_size=30),
    n_counted=st.integers(0, 30),
    top=st.integers(1, 6),
    since=st.sampled_from([None, *DAYS[:3]]),
    until=st.sampled_from([None, *DAYS[1:]]),
)
def test_the_top_keys_are_those_of_all(
    opened: Database,
    requests: list[tuple[int, int, str, str, int, int]],
    n_counted: int,
    top: int,
    since: str | None,
    until: str | None,
) -> None:
    with transaction(opened) as connection:
        for table in (USAGE, USAGE_DAILY, USAGE_DAILY_BY_ACCOUNT):
            connection.execute(table.delete())
        entries = [
            LedgerEntry(
                f"c-{n}",
                f"acc_{key % 2}",
                f"key_{key}",
                model,
                "direct",
                True,
                BEGUN_S + day * DAY_S,
                Usage(prompt, 0, completion, 0),
                finish,
            )
            for n, (key, day, model, finish, prompt, completion) in enumerate(requests)
        ]
        usage.write(connection, "i", entries)
        usage.count_ended(connection, n_counted)
        question = UsageQuestion(("key",), since, until, top=top)
        assert usage.add_up(connection, question) == by_hand(connection, question, top)


@pytest.mark.parametrize(
    "question",
    [
        UsageQuestion(("key",)),
        UsageQuestion(("account",), top=5),
        UsageQuestion(("key", "model"), top=5),
        UsageQuestion(("key",), named="acme", top=5),
        UsageQuestion(("key",), key="key_1", top=5),
    ],
    ids=["all", "by account", "by two", "of an account", "of a key"],
)
def test_other_questions_name_no_keys(opened: Database, question: UsageQuestion) -> None:
    with transaction(opened) as connection:
        assert top_keys.candidates(connection, question) is None


def test_too_many_requests_that_are_in_no_sum_are_added_up_as_before(
    opened: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(top_keys, "_MAX_KEYS", 5)
    with transaction(opened) as connection:
        write(connection, [(f"key_{n}", DAYS[0], n) for n in range(6)])
        question = UsageQuestion(("key",), top=2)
        assert top_keys.candidates(connection, question) is None
        assert [each.groups for each in usage.add_up(connection, question)] == [("key_5",), ("key_4",)]


def write(connection: Transaction, rows: list[tuple[str, str, int]]) -> None:
    """Requests that are in no sum yet: their keys, days and tokens."""
    entries = [
        LedgerEntry(
            f"w-{n}",
            "acc_1",
            key,
            "m",
            "direct",
            True,
            BEGUN_S + DAYS.index(day) * DAY_S,
            Usage(tokens),
            "stop",
        )
        for n, (key, day, tokens) in enumerate(rows)
    ]
    usage.write(connection, "i", entries)


def test_everything_together_is_one_sum_or_none(opened: Database) -> None:
    with transaction(opened) as connection:
        assert usage.add_up(connection, UsageQuestion(())) == []
        write(connection, [("key_1", DAYS[0], 7), ("key_2", DAYS[1], 5), ("key_2", DAYS[2], 1)])
        usage.count_ended(connection, 2)
        assert usage.add_up(connection, UsageQuestion(())) == [UsageSum((), 3, 0, Usage(13))]
        assert usage.add_up(connection, UsageQuestion((), since=DAYS[1])) == [UsageSum((), 2, 0, Usage(6))]
        assert usage.add_up(connection, UsageQuestion((), since=DAYS[4])) == []


N_KEYS, N_DAYS = 300, 20


@pytest.fixture
def filled(tmp_path: Path) -> Database:
    """Sums of many keys in SQLite, whose plans and steps can be looked at."""
    store = open_database(f"sqlite:///{tmp_path / 'tessera.db'}")
    upgrade(store)
    add_days(store, N_DAYS)
    return store


def add_days(store: Database, n_days: int) -> None:
    counts = dict.fromkeys(["n_requests", "n_failed", "cached_tokens", "reasoning_tokens"], 1)
    rows = [
        {
            "day": day_of(BEGUN_S + day * DAY_S),
            "account_id": "acc_1",
            "key_id": f"key_{key:05}",
            "model": model,
            "prompt_tokens": key,
            "completion_tokens": day,
            **counts,
        }
        for day in range(n_days)
        for key in range(N_KEYS)
        for model in ("m", "n")
    ]
    with transaction(store) as connection:
        connection.execute(insert(USAGE_DAILY), rows)


QUESTION = UsageQuestion(("key",), day_of(BEGUN_S), day_of(BEGUN_S + (N_DAYS - 1) * DAY_S), top=10)


def steps(store: Database, question: UsageQuestion) -> int:
    """How many instructions SQLite's machine runs for the answer, in tens."""
    n = 0

    def count() -> int:
        nonlocal n
        n += 1
        return 0

    with transaction(store) as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.set_progress_handler(count, 10)
        assert len(usage.add_up(connection, question)) == min(question.top or N_KEYS, N_KEYS)
        driver.set_progress_handler(None, 0)
    return n


def test_the_top_costs_less_than_the_whole(filled: Database) -> None:
    # The sorting of all sums is most of the time, and not counted as steps.
    assert steps(filled, QUESTION) < steps(filled, replace(QUESTION, top=None)) * 0.6


def test_the_most_used_keys_are_found_in_the_index_alone(filled: Database) -> None:
    plans: list[str] = []

    def explain(connection: Transaction, cursor: object, statement: str, values: Any, *_: object) -> None:
        if statement.startswith("SELECT usage_daily.key_id"):
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
            plans.extend(row.detail for row in rows)

    event.listen(filled, "before_cursor_execute", explain)
    with transaction(filled) as connection:
        usage.add_up(connection, QUESTION)
    assert plans == [
        "SCAN usage_daily USING COVERING INDEX ix_usage_daily_key",
        "USE TEMP B-TREE FOR ORDER BY",
    ]


def test_the_migration_changes_the_index_and_nothing_else(opened: Database) -> None:
    with transaction(opened) as connection:
        write(connection, [("key_1", DAYS[0], 7)])
        usage.count_ended(connection, 9)
        before = usage.add_up(connection, UsageQuestion(("key",), top=1))
    downgrade(opened, "0003")
    assert [each for each in differences(opened) if "ix_usage_daily_key" not in each] == []
    upgrade(opened)
    assert differences(opened) == []
    with transaction(opened) as connection:
        assert (
            usage.add_up(connection, UsageQuestion(("key",), top=1))
            == before
            == [UsageSum(("key_1",), 1, 0, Usage(7))]
        )
        assert connection.scalar(text("SELECT count(*) FROM usage_daily")) == 1
