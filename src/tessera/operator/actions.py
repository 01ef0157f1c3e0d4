"""What an operator does with accounts, keys, usage and the audit: a form in, a row out.

Each function works within the caller's transaction. `by` is the operator's name for the audit. All of them
raise `OperatorError` or a subclass of it.
"""

from dataclasses import asdict

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
from tessera.operator.rows import Report, Row, key_row, usage_report
from tessera.store import accounts, audit, keys, usage
from tessera.store.database import Transaction
from tessera.store.keys import Terms


def create_account(store: Transaction, form: NewAccount, tiers: Tiers, *, by: str) -> Row:
    """Create an account of one of the tiers."""
    tier = tiers[form.tier].name
    return asdict(accounts.create(store, form.name, tier, by=by))


def list_accounts(store: Transaction) -> list[Row]:
    """All accounts, by name."""
    return [asdict(account) for account in accounts.all_accounts(store)]


def show_account(store: Transaction, name_or_id: str) -> Row:
    """Show one account."""
    return asdict(accounts.find(store, name_or_id))


def change_account(
    store: Transaction, name_or_id: str, form: AccountChanges, tiers: Tiers, *, by: str
) -> Row:
    """Move an account to another tier, disable it or enable it."""
    account = accounts.find(store, name_or_id)
    if form.tier is not UNSET:
        account = accounts.set_tier(store, account.id, tiers[form.tier].name, by=by)
    if form.disabled is not UNSET:
        account = accounts.set_enabled(store, account.id, not form.disabled, by=by)
    return asdict(account)


def create_key(store: Transaction, form: NewKey, hasher: KeyHasher, *, by: str) -> Row:
    """Make a key. The returned row is the only place that has its secret."""
    owner = accounts.find(store, form.account)
    terms, secret = form.applied_to(Terms(form.name)), generate_key()
    key = keys.create(store, owner, terms, digest=hasher.digest(secret), last4=secret[-4:], by=by)
    return key_row(key, owner.name, secret)


def list_keys(store: Transaction, account: str | None) -> list[Row]:
    """The keys of an account, or of all accounts, oldest first."""
    owner_id = None if account is None else accounts.find(store, account).id
    names = {owner.id: owner.name for owner in accounts.all_accounts(store)}
    return [key_row(key, names[key.account_id]) for key in keys.of_account(store, owner_id)]


def show_key(store: Transaction, key_id: str) -> Row:
    """Show one key."""
    key = keys.find(store, key_id)
    return key_row(key, accounts.find(store, key.account_id).name)


def change_key(store: Transaction, key_id: str, form: KeyChanges, *, by: str) -> Row:
    """Change a key; a field that was not sent keeps its value."""
    before = keys.find(store, key_id, to_change=True).terms
    keys.update(store, key_id, form.applied_to(before), by=by)
    return show_key(store, key_id)


def revoke_key(store: Transaction, key_id: str, *, by: str) -> Row:
    """Revoke a key for good."""
    keys.revoke(store, key_id, by=by)
    return show_key(store, key_id)


def add_up(store: Transaction, query: UsageQuery) -> Report:
    """Add up usage. An account without usage must exist: the name may be mistyped. Raises `NotThere`."""
    question = query.question()
    sums = usage.add_up(store, question)
    if not sums and query.account not in (None, *accounts.RESERVED):
        accounts.find(store, query.account)
    return usage_report(question.by, sums)


def show_audit(store: Transaction, query: AuditQuery) -> list[Row]:
    """Changes of accounts and keys, the latest first."""
    changes = audit.search(
        store,
        account_id=None if query.account is None else accounts.find(store, query.account).id,
        key_id=None if query.key is None else keys.find(store, query.key).id,
        since_s=0.0 if query.since is None else read_time(query.since, "since"),
        before=query.before,
        limit=query.limit,
    )
    return [asdict(change) for change in changes]
