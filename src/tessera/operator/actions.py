"""What an operator does with accounts, keys, usage and the audit: a form in, a row out.

Each function works within the caller's transaction. `by` is the operator's name for the audit. All of them
raise `OperatorError` or a subclass of it.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace

from msgspec import UNSET

from tessera.access.keys import KeyHasher, generate_key
from tessera.access.tiers import Limits, Tiers, limited, wrong_limits
from tessera.errors import NotThere, OperatorError
from tessera.operator.cursors import write_cursor
from tessera.operator.forms import (
    AccountChanges,
    AuditQuery,
    DeletionQuery,
    KeyChanges,
    KeysQuery,
    ListQuery,
    NewAccount,
    NewKey,
    UsageQuery,
    merged,
    read_time,
)
from tessera.operator.rows import List, Report, Row, key_row, usage_report
from tessera.store import accounts, audit, instances, keys, peppers, usage
from tessera.store.database import Transaction
from tessera.store.keys import Terms
from tessera.store.pages import After


def create_account(store: Transaction, form: NewAccount, tiers: Tiers, *, by: str) -> Row:
    """Create an account of one of the tiers."""
    _require_tier(store, form.tier, tiers)
    _require_limits(form.limits, form.tier, tiers)
    account = accounts.create(store, form.name, form.tier, by=by)
    return asdict(accounts.set_limits(store, account.id, form.limits, by=by))


def list_tiers(tiers: Tiers) -> list[Row]:
    """All tiers, in the order of the configuration."""
    return [asdict(tiers[name]) for name in tiers.names()]


def list_accounts(store: Transaction, query: ListQuery) -> List:
    """All accounts or a page of them, by name unless the query says otherwise."""
    question = query.question(accounts.SORTED_BY, "name")
    page = accounts.page(store, question)
    return List([asdict(account) for account in page.rows], page.n_found, _cursor(query, "name", page.last))


def show_account(store: Transaction, name_or_id: str) -> Row:
    """Show one account."""
    return asdict(accounts.find(store, name_or_id))


def change_account(
    store: Transaction, name_or_id: str, form: AccountChanges, tiers: Tiers, *, by: str
) -> Row:
    """Move an account to another tier, give it limits of its own, disable it or enable it."""
    account = accounts.find(store, name_or_id, to_change=True)
    if form.tier is not UNSET:
        _require_tier(store, form.tier, tiers)
        account = accounts.set_tier(store, account.id, form.tier, by=by)
    if form.limits is not UNSET:
        limits = merged(account.limits, form.limits)
        _require_limits(limits, account.tier, tiers)
        account = accounts.set_limits(store, account.id, limits, by=by)
    if form.disabled is not UNSET:
        account = accounts.set_enabled(store, account.id, not form.disabled, by=by)
    return asdict(account)


def delete_account(store: Transaction, name_or_id: str, query: DeletionQuery, *, by: str) -> Row:
    """Delete an account and its keys; its usage is erased, or kept under the account's id."""
    return asdict(accounts.delete(store, name_or_id, erases_usage=query.usage == "erase", by=by))


def create_key(store: Transaction, form: NewKey, hasher: KeyHasher, *, by: str) -> Row:
    """Make a key. The returned row is the only place that has its secret. Raises `StartupError` if the pepper
    is not that of the store.
    """
    owner = accounts.find(store, form.account)
    peppers.adopt(store, hasher.check_value, hasher.former_check_value, by=by, makes_key=True)
    terms, secret = form.applied_to(Terms(form.name)), generate_key()
    key = keys.create(
        store,
        owner,
        terms,
        digest=hasher.digest(secret),
        pepper=peppers.id_of(hasher.check_value),
        last4=secret[-4:],
        by=by,
    )
    return key_row(key, owner.name, secret)


def list_keys(store: Transaction, query: KeysQuery) -> List:
    """All keys or a page of them, of an account or of all, oldest first unless the query says otherwise."""
    owner_id = None if query.account is None else accounts.find(store, query.account).id
    page = keys.page(store, query.question(keys.SORTED_BY, "created_s"), owner_id)
    rows = [key_row(key, account) for key, account in page.rows]
    return List(rows, page.n_found, _cursor(query, "created_s", page.last))


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
    # Without groups there is nothing to sort, so this is quick.
    everything = sums if question.top is None else usage.add_up(store, replace(question, by=(), top=None))
    return usage_report(question.by, sums, everything)


def record_cancellations(store: Transaction, ended: Sequence[Row], *, by: str) -> None:
    """Requests were cancelled. Each is a row of the audit of its account, without its request id, which its
    client may have chosen.
    """
    for row in ended:
        detail = {name: row[name] for name in ("id", "key_id", "model")}
        audit.record(store, by, "request.cancel", str(row["account"] or "unknown"), detail)


def show_audit(store: Transaction, query: AuditQuery) -> list[Row]:
    """Changes of accounts and keys, and cancelled requests, the latest first. Those of a deleted account are
    found by its id.
    """
    changes = audit.search(
        store,
        account_id=None if query.account is None else _account_id(store, query.account),
        key_id=None if query.key is None else keys.find(store, query.key).id,
        since_s=0.0 if query.since is None else read_time(query.since, "since"),
        before=query.before,
        limit=query.limit,
    )
    return [asdict(change) for change in changes]


def _account_id(store: Transaction, name_or_id: str) -> str:
    if name_or_id in accounts.RESERVED:
        return name_or_id
    try:
        return accounts.find(store, name_or_id).id
    except NotThere:
        if accounts.can_be_name(name_or_id) and audit.was_deleted(store, name_or_id):
            return name_or_id
        raise


def _require_tier(store: Transaction, name: str, tiers: Tiers) -> None:
    """What the running servers know counts. If none runs, the settings of the command do."""
    running = instances.tiers_of_running(store)
    for known in running:
        if name not in known:
            raise OperatorError(
                f"The running server has no tier {name[:50]!r}. Use one of: {', '.join(known)}; or add it to "
                "the server's settings and restart it.",
                param="tier",
            )
    if not running:
        tiers[name]  # raises if there is none


def _require_limits(limits: Limits, tier: str, tiers: Tiers) -> None:
    if wrong := wrong_limits(limits):
        raise OperatorError(" ".join(wrong), param="limits")
    if tier not in tiers:  # only the running server knows it
        return
    own = limited(tiers[tier], limits)
    sustained_rpm = limits.get("sustained_rpm", tiers[tier].sustained_rpm)
    if own.sustained_rpm != sustained_rpm:
        raise OperatorError(
            f"burst_rpm would be {own.burst_rpm}, less than sustained_rpm, {sustained_rpm}: set both.",
            param="limits",
        )


def _cursor(query: ListQuery, default: str, last: After | None) -> str | None:
    return None if last is None else write_cursor(query.sort or default, last)
