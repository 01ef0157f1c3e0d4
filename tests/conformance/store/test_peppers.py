"""The check value of the pepper, and keys that move to another one, on every store."""

import pytest
from sqlalchemy import select, text

from tessera.access.keys import KeyHasher, generate_key
from tessera.access.tiers import Tiers
from tessera.errors import StartupError, StoreUnavailable
from tessera.operator import actions
from tessera.operator.forms import AuditQuery, KeysQuery, ListQuery, NewAccount, NewKey
from tessera.store import peppers
from tessera.store.database import Database, open_database, transaction
from tessera.store.holders import Holders
from tessera.store.migration import downgrade, upgrade
from tessera.store.tables import KEYS

OLD, NEW = b"o" * 32, b"n" * 32


def check(secret: bytes) -> bytes:
    return KeyHasher(secret).check_value


def make_key(store: Database, hasher: KeyHasher) -> str:
    with transaction(store) as changes:
        if not actions.list_accounts(changes, ListQuery()).rows:
            actions.create_account(changes, NewAccount(name="acme", tier="lite"), Tiers(), by="test")
        return str(actions.create_key(changes, NewKey(account="acme", name="k"), hasher, by="test")["secret"])


def test_before_the_first_key_the_last_server_decides_which_pepper_it_is(opened: Database) -> None:
    for secret in (NEW, OLD, NEW):
        with transaction(opened) as changes:
            peppers.adopt(changes, check(secret), None, by="serve")
            assert peppers.current(changes) == check(secret)
            assert peppers.current_of_keys(changes) is None
    with pytest.raises(StartupError, match="not the one"):
        make_key(opened, KeyHasher(OLD))
    make_key(opened, KeyHasher(NEW))
    with transaction(opened) as changes:
        assert peppers.current_of_keys(changes) == check(NEW)
    for other in (OLD, b"x" * 32):
        with pytest.raises(StartupError, match="not the one"), transaction(opened) as changes:
            peppers.adopt(changes, check(other), None, by="serve")
        with pytest.raises(StartupError, match="not the one"):
            make_key(opened, KeyHasher(other))
    with transaction(opened) as changes:
        peppers.adopt(changes, check(NEW), None, by="serve")
        assert peppers.current(changes) == check(NEW)
        assert len(changes.execute(select(KEYS)).all()) == 1


def test_a_key_moves_to_the_new_pepper_when_it_is_used(opened: Database) -> None:
    used, unused = (make_key(opened, KeyHasher(OLD)) for _ in range(2))
    both = KeyHasher(NEW, OLD)
    assert both.former is not None
    with transaction(opened) as changes:
        peppers.adopt(changes, check(NEW), check(OLD), by="serve")
        assert peppers.keys_of_former(changes) == 2
    holders = Holders(opened, both.check_value)
    found = holders.find(both.digest(used), both.former.digest(used))
    assert found is not None
    assert found.digest == both.digest(used)
    with transaction(opened) as changes:
        assert peppers.keys_of_former(changes) == 1
        assert actions.show_audit(changes, AuditQuery(limit=1))[0]["action"] == "pepper.rotate"
    assert Holders(opened, check(NEW)).find(KeyHasher(NEW).digest(used)) is not None
    assert Holders(opened, check(NEW)).find(KeyHasher(NEW).digest(unused)) is None
    # A server that was not restarted cannot know these keys, which says nothing about them.
    with pytest.raises(StoreUnavailable) as raised:
        Holders(opened, check(OLD)).find(KeyHasher(OLD).digest(used))
    assert "pepper" in (raised.value.reason or "")
    assert Holders(opened, check(OLD)).find(KeyHasher(OLD).digest(unused)) is not None


def test_with_the_wrong_pepper_no_key_is_called_unknown(opened: Database) -> None:
    make_key(opened, KeyHasher(OLD))
    with pytest.raises(StoreUnavailable):
        Holders(opened, check(NEW)).find(KeyHasher(NEW).digest(generate_key()))
    assert Holders(opened, check(OLD)).find(KeyHasher(OLD).digest(generate_key())) is None


def test_after_a_loss_all_keys_are_revoked_and_new_ones_work(opened: Database) -> None:
    lost = make_key(opened, KeyHasher(OLD))
    with transaction(opened) as changes:
        assert peppers.replace_lost(changes, check(NEW), by="test") == 1
        assert peppers.keys_of_former(changes) == 0
    made = make_key(opened, KeyHasher(NEW))
    found = Holders(opened, check(NEW)).find(KeyHasher(NEW).digest(made))
    assert found is not None
    assert found.key.state(0) == "active"
    with transaction(opened) as changes:
        states = [key["state"] for key in actions.list_keys(changes, KeysQuery()).rows]
    assert states == ["revoked", "active"]
    assert Holders(opened, check(NEW)).find(KeyHasher(NEW).digest(lost)) is None


def test_a_store_of_the_former_version_takes_the_pepper_that_it_is_opened_with(database: str) -> None:
    """And keeps its accounts, keys and rows, upward and downward."""
    store = open_database(database)
    upgrade(store, "0001")
    digest = KeyHasher(OLD).digest("x")
    with transaction(store) as changes:
        changes.execute(
            text("INSERT INTO accounts (id, name, tier, created_s) VALUES ('acc_1', 'acme', 'lite', 1)")
        )
        columns = "(id, account_id, name, digest, last4, created_s)"
        row = {"digest": digest}
        changes.execute(
            text(f"INSERT INTO keys {columns} VALUES ('key_1', 'acc_1', 'k', :digest, 'wxyz', 1)"), row
        )
        changes.execute(text("INSERT INTO instances (id, seen_s) VALUES ('srv_1', 1)"))
        assert peppers.current(changes) is None
    upgrade(store)
    with transaction(store) as changes:
        assert peppers.keys_of_former(changes) == 0
        peppers.adopt(changes, check(OLD), None, by="serve")
        assert actions.list_keys(changes, KeysQuery()).rows[0]["pepper"] == peppers.id_of(check(OLD))
        assert actions.show_account(changes, "acme")["limits"] == {}
    with pytest.raises(StartupError), transaction(store) as changes:
        peppers.adopt(changes, check(NEW), None, by="serve")
    downgrade(store, "0001")
    with transaction(store) as changes:
        assert changes.execute(text("SELECT account_id, digest FROM keys")).all() == [("acc_1", digest)]
        assert changes.execute(text("SELECT id FROM instances")).all() == [("srv_1",)]
    store.dispose()


def test_a_rotation_of_a_store_of_the_former_version_knows_which_keys_are_old(database: str) -> None:
    store = open_database(database)
    upgrade(store)
    make_key(store, KeyHasher(OLD))
    with transaction(store) as changes:
        changes.execute(text("DELETE FROM peppers"))
        changes.execute(text("UPDATE keys SET pepper = NULL"))
        peppers.adopt(changes, check(NEW), check(OLD), by="serve")
        assert peppers.current(changes) == check(NEW)
        assert peppers.keys_of_former(changes) == 1
    store.dispose()
