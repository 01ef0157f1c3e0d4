"""What can be done with accounts and keys, within one transaction: a form in, a row out.

`by` is who does it, for the audit. All raise `OperatorError`, or what follows from it, for what cannot be
done.
"""

from msgspec import UNSET

from tessera.access.keys import KeyHasher, generate_key
from tessera.access.tiers import Tiers
from tessera.operator.forms import (
    AccountChanges,
    AuditQuery,
    KeyChanges,
    NewAccount,
    NewKey,
    UsageQuery,
    read_time,
)
from tessera.operator.rows import Report, Row, account_row, change_row, key_row, usage_report
from tessera.store import accounts, audit, keys, usage
from tessera.store.audit import AuditSearch
from tessera.store.database import Transaction
from tessera.store.keys import Terms


def create_account(store: Transaction, form: NewAccount, tiers: Tiers, *, by: str) -> Row:
    """A new account, of one of the tiers."""
    tier = tiers[form.tier].name
    return account_row(accounts.create(store, form.name, tier, by=by))


def list_accounts(store: Transaction) -> list[Row]:
    """All of them, by name."""
    return [account_row(account) for account in accounts.all_accounts(store)]


def show_account(store: Transaction, name_or_id: str) -> Row:
    """One of them."""
    return account_row(accounts.find(store, name_or_id))


def change_account(
    store: Transaction, name_or_id: str, form: AccountChanges, tiers: Tiers, *, by: str
) -> Row:
    """Move it to another tier, disable or enable it."""
    account = accounts.find(store, name_or_id)
    if form.tier is not UNSET:
        account = accounts.set_tier(store, account.id, tiers[form.tier].name, by=by)
    if form.disabled is not UNSET:
        account = accounts.set_enabled(store, account.id, not form.disabled, by=by)
    return account_row(account)


def create_key(store: Transaction, form: NewKey, hasher: KeyHasher, *, by: str) -> Row:
    """A new key. Its secret is in this row, and nowhere else."""
    owner = accounts.find(store, form.account)
    terms, secret = form.applied_to(Terms(form.name)), generate_key()
    key = keys.create(store, owner, terms, digest=hasher.digest(secret), last4=secret[-4:], by=by)
    return key_row(key, owner.name, secret)


def list_keys(store: Transaction, account: str | None) -> list[Row]:
    """Of an account, or of all, in the order in which they were made."""
    owner_id = None if account is None else accounts.find(store, account).id
    names = {owner.id: owner.name for owner in accounts.all_accounts(store)}
    return [key_row(key, names[key.account_id]) for key in keys.of_account(store, owner_id)]


def show_key(store: Transaction, key_id: str) -> Row:
    """One key."""
    key = keys.find(store, key_id)
    return key_row(key, accounts.find(store, key.account_id).name)


def change_key(store: Transaction, key_id: str, form: KeyChanges, *, by: str) -> Row:
    """What the form does not say stays."""
    before = keys.find(store, key_id, to_change=True).terms
    keys.update(store, key_id, form.applied_to(before), by=by)
    return show_key(store, key_id)


def revoke_key(store: Transaction, key_id: str, *, by: str) -> Row:
    """End it for good."""
    keys.revoke(store, key_id, by=by)
    return show_key(store, key_id)


def add_up(store: Transaction, query: UsageQuery) -> Report:
    """What was used. Nothing was by an account that is none: whoever names one has mistyped."""
    question = query.question()
    sums = usage.add_up(store, question)
    if not sums and query.account not in (None, *accounts.RESERVED):
        accounts.find(store, query.account)
    return usage_report(question.by, sums)


def show_audit(store: Transaction, query: AuditQuery) -> list[Row]:
    """Who changed what, the latest first."""
    wanted = AuditSearch(
        account_id=None if query.account is None else accounts.find(store, query.account).id,
        key_id=None if query.key is None else keys.find(store, query.key).id,
        since_s=None if query.since is None else read_time(query.since, "since"),
        before=query.before,
        limit=query.limit,
    )
    return [change_row(change) for change in audit.search(store, wanted)]
