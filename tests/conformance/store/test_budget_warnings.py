"""Warnings of budgets, and what is spent of them, on every store."""

import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete
from tests.webhook_receiver import SECRET, Receiver, receiving

from tessera.access.keys import KeyHasher
from tessera.access.tiers import Tiers, configured
from tessera.core.budgets import Spent
from tessera.core.usage import OPEN, LedgerEntry, Usage, day_of
from tessera.observe.exposition import ParentMetrics, exposition
from tessera.operator import actions
from tessera.operator.budgets import list_budgets
from tessera.operator.forms import AccountChanges, KeyChanges, NewAccount, NewKey
from tessera.server.budget_watch import BudgetWatch
from tessera.server.webhook import Webhook, WebhookFailed
from tessera.store import instances, usage
from tessera.store.budget_warnings import claim_due
from tessera.store.database import Database, transaction
from tessera.store.tables import USAGE, USAGE_DAILY, USAGE_DAILY_BY_ACCOUNT
from tessera.usage.spent import SpentReader

DAY_S = 86_400
NOW_S = datetime(2026, 3, 2, 12, tzinfo=UTC).timestamp()


def entry(number: int, account: str, key: str, at_s: float, used: Usage, finish: str = "stop") -> LedgerEntry:
    return LedgerEntry(f"id-{number}", account, key, "m", "direct", False, at_s, used, finish)


ENTRIES = st.lists(
    st.tuples(
        st.sampled_from(["acc_1", "acc_2"]),
        st.sampled_from(["k1", "k2"]),
        st.sampled_from([0, 0, 0.4, 1, 1.6, 2, 5, 30, 200]),
        st.integers(0, 9),
        st.sampled_from(["stop", "stop", "engine_error", OPEN]),
    ),
    max_size=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(ENTRIES, st.integers(0, 12), st.booleans())
def test_what_is_spent_is_what_ended_in_the_day_and_the_month(
    opened: Database, entries: list[Any], n_counted: int, rolls_up: bool
) -> None:
    with transaction(opened) as store:
        for table in (USAGE, USAGE_DAILY, USAGE_DAILY_BY_ACCOUNT):
            store.execute(delete(table))
        rows = [
            entry(n, account, key, NOW_S - days * DAY_S, Usage(tokens, 0, 1, 0), finish)
            for n, (account, key, days, tokens, finish) in enumerate(entries)
        ]
        usage.write(store, "one", rows)
    expected: dict[str, dict[str, Spent]] = {"acc_1": {}, "acc_2": {}}
    today = day_of(NOW_S)
    for each in rows:
        day = day_of(each.begun_s)
        if each.finish == OPEN or day[:7] != today[:7]:
            continue
        spent = Spent(each.usage if day == today else Usage(), each.usage)
        by_key = expected[each.account]
        by_key[each.key_id] = by_key.get(each.key_id, Spent()) + spent
    reader = SpentReader()
    for _ in range(2):
        with transaction(opened) as store:
            assert reader.read(store, ["acc_1", "acc_2"], NOW_S) == expected
            usage.count_ended(store, n_counted)
            if rolls_up:
                usage.roll_up(store, day_of(NOW_S - DAY_S), 100)


@pytest.fixture
def capped(opened: Database) -> tuple[str, str]:
    """The ids of an account and its key; both have a budget of 100 tokens."""
    with transaction(opened) as store:
        account = actions.create_account(store, NewAccount(name="acme", tier="lite"), Tiers(), by="test")
        form = NewKey(account="acme", name="k", budgets={"prompt_tokens_per_day": 100})
        key = actions.create_key(store, form, KeyHasher(b"p" * 32), by="test")
        limits = AccountChanges(limits={"total_tokens_per_month": 100})
        actions.change_account(store, "acme", limits, Tiers(), by="test")
    return str(account["id"]), str(key["id"])


def use(opened: Database, account: str, key: str, n_tokens: int, number: int) -> None:
    with transaction(opened) as store:
        usage.write(store, "one", [entry(number, account, key, time.time(), Usage(n_tokens, 0, 0, 0))])


@contextmanager
def watching(
    opened: Database, n: int = 1, pauses_s: Sequence[float] = (0.0,) * 3, **refusals: int
) -> Iterator[tuple[Receiver, list[BudgetWatch]]]:
    with receiving(**refusals) as receiver:
        webhook = Webhook(receiver.url, SECRET)
        yield (
            receiver,
            [BudgetWatch(opened, Tiers(), ParentMetrics(), webhook, pauses_s) for _ in range(n)],
        )


def run(watch: BudgetWatch, receiver: Receiver) -> None:
    watch.check()
    watch.deliver(Webhook(receiver.url, SECRET))


def test_each_crossing_is_sent_once_by_whichever_server_sees_it(
    opened: Database, capped: tuple[str, str]
) -> None:
    account, key = capped
    with watching(opened, n=3, pauses_s=[86_400.0]) as (receiver, servers):
        for number, n_tokens in enumerate((79, 1, 19, 1, 50)):
            use(opened, account, key, n_tokens, number)
            for _ in range(2):
                with ThreadPoolExecutor(3) as threads:
                    list(threads.map(lambda watch: run(watch, receiver), servers))
        restarted = BudgetWatch(opened, Tiers(), ParentMetrics(), Webhook(receiver.url, SECRET))
        run(restarted, receiver)
    sent = sorted((each["budget"], each["threshold_percent"]) for each in receiver.messages)
    budgets = ("prompt_tokens_per_day", "total_tokens_per_month")
    assert sent == [(budget, percent) for budget in budgets for percent in (80, 100)]
    assert len({each["id"] for each in receiver.messages}) == 4
    used = {(each["budget"], each["threshold_percent"]): each["used_tokens"] for each in receiver.messages}
    assert set(used.values()) == {80, 100}
    assert {each["key_id"] for each in receiver.messages} == {None, key}
    texts = [exposition(None, dict, None, watch._metrics)().decode() for watch in servers]
    counts = [
        float(line.split()[-1])
        for text in texts
        for line in text.splitlines()
        if 'percent="80"' in line and "_total" in line
    ]
    assert sum(counts) == 2


def test_a_message_that_is_refused_is_sent_again_and_given_up_in_the_end(
    opened: Database, capped: tuple[str, str]
) -> None:
    account, key = capped
    with watching(opened, n_refusals=3) as (receiver, (watch,)):
        use(opened, account, key, 80, 0)
        for _ in range(4):
            run(watch, receiver)
        assert len(receiver.messages) == 2
        assert len(receiver.refused) == 3
        receiver.n_refusals = 10**6
        use(opened, account, key, 20, 1)
        receiver.refused.clear()
        for _ in range(8):
            run(watch, receiver)
        assert len(receiver.messages) == 2
        assert len(receiver.refused) == 2 * 4  # one attempt, and one after each of three pauses


def test_a_message_that_was_being_sent_when_its_server_died_is_sent_by_the_next(
    opened: Database, capped: tuple[str, str]
) -> None:
    account, key = capped
    with watching(opened, n=2) as (receiver, (first, second)):
        use(opened, account, key, 100, 0)
        first.check()
        with transaction(opened) as store:
            assert claim_due(store, instances.clock_s(store), lambda _: 0.0) is not None
        run(second, receiver)
    assert len(receiver.messages) == 4


@pytest.mark.parametrize("n_refusals", [0, 1, 2, 3])
@pytest.mark.parametrize("crossings", [(80, 20), (100,), (79, 1, 20, 50)])
def test_messages_of_an_account_are_sent_in_the_order_of_its_warnings(
    opened: Database, capped: tuple[str, str], crossings: Sequence[int], n_refusals: int
) -> None:
    """Also when the first ones are refused, and when several servers send them."""
    account, key = capped
    with watching(opened, n=2, n_refusals=n_refusals) as (receiver, servers):
        for number, n_tokens in enumerate(crossings):
            use(opened, account, key, n_tokens, number)
            for watch in servers:
                watch.check()
            run(servers[number % 2], receiver)
        run(servers[0], receiver)
    assert [each["threshold_percent"] for each in receiver.messages] == [80, 80, 100, 100]
    assert [each["threshold_percent"] for each in receiver.refused] == [80] * n_refusals


def test_a_budget_of_nothing_is_a_ban_and_no_warning(opened: Database) -> None:
    with transaction(opened) as store:
        form = NewAccount(name="acme", tier="lite", limits={"reasoning_tokens_per_day": 0})
        account = str(actions.create_account(store, form, Tiers(), by="test")["id"])
        (row,) = list_budgets(store, Tiers(), None)
    assert (row["limit_tokens"], row["percent"]) == (0, 100)
    with watching(opened) as (receiver, (watch,)):
        use(opened, account, "key_x", 5, 0)
        run(watch, receiver)
    assert receiver.messages == []


def test_all_budgets_are_those_of_tiers_of_accounts_and_of_keys(opened: Database) -> None:
    tiers = configured({"pro": {"total_tokens_per_day": 7}, "operator": {"prompt_tokens_per_month": 9}})
    with transaction(opened) as store:
        made: list[tuple[str, str, dict[str, int | str]]] = [
            ("a", "lite", {}),
            ("b", "pro", {}),
            ("c", "lite", {"concurrency": 1}),
            ("d", "lite", {"total_tokens_per_day": 8}),
            ("e", "pro", {"total_tokens_per_day": "unlimited"}),
            ("f", "lite", {}),
        ]
        for name, tier, limits in made:
            actions.create_account(store, NewAccount(name=name, tier=tier, limits=limits), tiers, by="test")
        of_keys: list[tuple[str, dict[str, int | None]]] = [
            ("a", {}),
            ("f", {"completion_tokens_per_day": 5}),
        ]
        for name, budgets in of_keys:
            form = NewKey(account=name, name="k", budgets=budgets)
            actions.create_key(store, form, KeyHasher(b"p" * 32), by="test")
        every = [(row["account"], row["limit_tokens"]) for row in list_budgets(store, tiers, None)]
        of_each = [
            (row["account"], row["limit_tokens"])
            for name in ("operator", "a", "b", "c", "d", "e", "f")
            for row in list_budgets(store, tiers, name)
        ]
    assert every == of_each == [("operator", 9), ("b", 7), ("d", 8), ("f", 5)]


def test_a_message_of_another_account_does_not_wait(opened: Database, capped: tuple[str, str]) -> None:
    account, key = capped
    with transaction(opened) as store:
        form = NewAccount(name="globex", tier="lite", limits={"total_tokens_per_month": 10})
        other = str(actions.create_account(store, form, Tiers(), by="test")["id"])
    with watching(opened, pauses_s=[86_400.0], n_refusals=2) as (receiver, (watch,)):
        use(opened, account, key, 80, 0)
        run(watch, receiver)
        use(opened, other, "key_x", 8, 1)
        use(opened, account, key, 20, 2)
        run(watch, receiver)
        assert [each["account"] for each in receiver.messages] == ["globex"]


@pytest.mark.parametrize("said", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 x\r\n\r\n", b"HTTP/1.1"])
def test_a_receiver_that_speaks_no_http_is_a_failure(said: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(said)

        with ThreadPoolExecutor(1) as thread:
            answering = thread.submit(answer)
            with pytest.raises(WebhookFailed):
                Webhook(f"http://127.0.0.1:{listener.getsockname()[1]}/", SECRET).send("id", {})
            answering.result()


@pytest.mark.parametrize("status", [302, 404, 500])
def test_only_a_status_of_2xx_is_success(status: int) -> None:
    with receiving(n_refusals=1, status=status) as receiver, pytest.raises(WebhookFailed, match=str(status)):
        Webhook(receiver.url, SECRET).send("id", {})
    with pytest.raises(WebhookFailed, match="refused"):
        Webhook(receiver.url, SECRET).send("id", {})


def test_a_limit_that_is_changed_can_be_crossed_again(opened: Database, capped: tuple[str, str]) -> None:
    account, key = capped
    with watching(opened) as (receiver, (watch,)):
        use(opened, account, key, 100, 0)
        run(watch, receiver)
        with transaction(opened) as store:
            ended = KeyChanges(budgets={"prompt_tokens_per_day": None})
            actions.change_key(store, key, ended, by="test")
            for tokens in (200, 110):
                limits = AccountChanges(limits={"total_tokens_per_month": tokens})
                actions.change_account(store, "acme", limits, Tiers(), by="test")
        run(watch, receiver)
        with transaction(opened) as store:
            (row,) = list_budgets(store, Tiers(), "acme")
    assert (row["limit_tokens"], row["used_tokens"], row["percent"]) == (110, 100, 90)
    assert len(receiver.messages) == 5
