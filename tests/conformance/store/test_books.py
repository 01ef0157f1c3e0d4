"""Accounts, keys and the audit, on every store."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import select

from tessera.errors import OperatorError
from tessera.operator import actions
from tessera.operator.forms import KeyChanges
from tessera.store import accounts, keys
from tessera.store.accounts import Account
from tessera.store.database import Database, Transaction, transaction
from tessera.store.holders import Holders
from tessera.store.keys import Key, Terms
from tessera.store.pages import PageQuestion
from tessera.store.tables import AUDIT

BY = "cli:tester"
DIGEST = bytes(range(32))
DEV = Terms("dev")
Change = Callable[[Transaction], object]


def make(opened: Database, name: str = "acme") -> Account:
    with transaction(opened) as store:
        return accounts.create(store, name, "lite", by=BY)


def make_key(opened: Database, account: Account, digest: bytes = DIGEST, terms: Terms = DEV) -> Key:
    with transaction(opened) as store:
        return keys.create(store, account, terms, digest=digest, last4="wxyz", by=BY)


def audited(opened: Database) -> list[tuple[str, str, str, object]]:
    columns = AUDIT.c.actor, AUDIT.c.action, AUDIT.c.subject, AUDIT.c.detail
    with transaction(opened) as store:
        return [tuple(row) for row in store.execute(select(*columns).order_by(AUDIT.c.id))]


def test_an_account_is_found_by_its_name_and_by_its_id(opened: Database) -> None:
    made = make(opened)
    make(opened, "Zebra & söhne")
    assert made.id.startswith("acc_")
    with transaction(opened) as store:
        assert accounts.find(store, "acme") == accounts.find(store, made.id) == made
        assert {each.name for each in accounts.page(store, PageQuestion("name")).rows} == {
            "acme",
            "Zebra & söhne",
        }
        with pytest.raises(OperatorError, match="nobody"):
            accounts.find(store, "nobody")


@pytest.mark.parametrize("name", ["", " acme", "a\nb", "x" * 101, "operator", "acc_1"])
def test_a_name_that_cannot_be_one_is_refused(opened: Database, name: str) -> None:
    with pytest.raises(OperatorError):
        make(opened, name)


def test_a_name_is_taken_once(opened: Database) -> None:
    make(opened)
    with pytest.raises(OperatorError, match="'acme' already"):
        make(opened)
    assert len(audited(opened)) == 1


def test_an_account_changes_and_the_audit_says_who_did_it(opened: Database) -> None:
    made = make(opened)
    with transaction(opened) as store:
        assert accounts.set_tier(store, "acme", "pro", by=BY).tier == "pro"
        accounts.set_tier(store, "acme", "pro", by=BY)
        disabled_s = accounts.set_enabled(store, made.id, False, by=BY).disabled_s
        assert disabled_s == pytest.approx(time.time(), abs=600)
        assert accounts.set_enabled(store, made.id, False, by=BY).disabled_s == disabled_s
        assert accounts.set_enabled(store, "acme", True, by=BY).disabled_s is None
    assert audited(opened) == [
        (BY, "account.create", made.id, {"name": "acme", "tier": "lite"}),
        (BY, "account.set-tier", made.id, {"tier": "pro", "before": "lite"}),
        (BY, "account.disable", made.id, {}),
        (BY, "account.enable", made.id, {}),
    ]


def test_a_key_is_made_changed_and_revoked(opened: Database) -> None:
    account = make(opened)
    terms = Terms("dev", time.time() + 3600, ("a", "b"), 90, time.time() + 1800)
    made = make_key(opened, account, terms=terms)
    with transaction(opened) as store:
        assert keys.find(store, made.id) == made
        assert made.state(time.time()) == "active"
        changed = keys.update(store, made.id, replace(terms, name="ci", models=None), by=BY)
        assert changed.terms == replace(terms, name="ci", models=None)
        revoked = keys.revoke(store, made.id, by=BY)
        assert revoked.state(time.time()) == "revoked"
        assert keys.revoke(store, made.id, by=BY) == revoked
    assert [row[1:3] for row in audited(opened)[1:]] == [
        ("key.create", made.id),
        ("key.update", made.id),
        ("key.revoke", made.id),
    ]
    assert audited(opened)[2][3] == {"name": "ci", "models": None}


def change_twice(opened: Database, first: Change, second: Change) -> None:
    """Runs two changes; the second begins before the first has ended."""

    def change() -> None:
        with transaction(opened) as store:
            second(store)

    with ThreadPoolExecutor(1) as thread:
        with transaction(opened) as store:
            first(store)
            other = thread.submit(change)
            time.sleep(0.3)
        other.result()


def test_of_two_who_do_the_same_at_once_one_does_it(opened: Database) -> None:
    made = make_key(opened, make(opened))
    for change in (
        lambda store: keys.revoke(store, made.id, by=BY),
        lambda store: accounts.set_enabled(store, "acme", False, by=BY),
        lambda store: accounts.set_tier(store, "acme", "pro", by=BY),
    ):
        change_twice(opened, change, change)
    assert [row[1] for row in audited(opened)[2:]] == ["key.revoke", "account.disable", "account.set-tier"]


def test_two_changes_of_a_key_at_once_leave_no_half_of_a_burst(opened: Database) -> None:
    ends_s = time.time() + 3600
    made = make_key(opened, make(opened), terms=replace(DEV, burst_rpm=90, burst_until_s=ends_s))
    without, other = KeyChanges(burst_rpm=None, burst_until_s=None), KeyChanges(burst_rpm=100)
    with pytest.raises(OperatorError, match="burst"):
        change_twice(
            opened,
            lambda store: actions.change_key(store, made.id, without, by=BY),
            lambda store: actions.change_key(store, made.id, other, by=BY),
        )
    with transaction(opened) as store:
        assert keys.find(store, made.id).terms == DEV


def test_keys_of_one_account_and_of_all(opened: Database) -> None:
    one, other = make(opened), make(opened, "other")
    made = [make_key(opened, owner, bytes([n]) * 32) for n, owner in enumerate((one, other, one))]
    with transaction(opened) as store:
        question = PageQuestion("created_s")
        assert keys.page(store, question, one.id).rows == [(made[0], "acme"), (made[2], "acme")]
        assert [key for key, _ in keys.page(store, question).rows] == made
        with pytest.raises(OperatorError, match="key_none"):
            keys.find(store, "key_none")


@pytest.mark.parametrize(
    "terms",
    [
        Terms(""),
        Terms("dev", models=()),
        Terms("dev", models=("",)),
        Terms("dev", burst_rpm=90),
        Terms("dev", burst_until_s=time.time() + 3600),
        Terms("dev", burst_rpm=0, burst_until_s=time.time() + 3600),
        Terms("dev", burst_rpm=2**31, burst_until_s=time.time() + 3600),
    ],
)
def test_terms_that_make_no_sense_are_refused(opened: Database, terms: Terms) -> None:
    account = make(opened)
    with pytest.raises(OperatorError):
        make_key(opened, account, terms=terms)


def test_a_key_is_found_by_its_digest_with_its_account(opened: Database) -> None:
    account = make(opened)
    made = make_key(opened, account)
    holders = Holders(opened)
    found = holders.find(DIGEST)
    assert found is not None
    assert (found.digest, found.key, found.account) == (DIGEST, made, account)
    assert holders.find(DIGEST[::-1]) is None


def test_the_last_use_goes_forward_only(opened: Database) -> None:
    made = make_key(opened, make(opened))
    holders = Holders(opened)
    holders.touch({made.id: 50.0, "key_gone": 50.0})
    holders.touch({made.id: 40.0})
    found = holders.find(DIGEST)
    assert found is not None
    assert found.key.last_used_s == 50.0
