"""Accounts: a name, and the tier that says what it may use. Each change is a row of the audit."""

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, insert, null, or_, select, update
from sqlalchemy import delete as delete_rows
from sqlalchemy.exc import IntegrityError

from tessera.errors import NameTaken, NotThere, OperatorError
from tessera.store import audit
from tessera.store.database import locked
from tessera.store.pages import Page, PageQuestion, read_page
from tessera.store.tables import ACCOUNTS, BUDGET_WARNINGS, KEYS, USAGE, USAGE_DAILY, USAGE_DAILY_BY_ACCOUNT

PREFIX = "acc_"
RESERVED = ("operator",)
"""Reserved names: the key that a service is started with belongs to `operator`."""

SORTED_BY: Mapping[str, ColumnElement[Any]] = MappingProxyType(
    {name: ACCOUNTS.c[name] for name in ("name", "tier", "created_s", "disabled_s")}
)
_SEARCHED = (ACCOUNTS.c.name, ACCOUNTS.c.id, ACCOUNTS.c.tier)

MAX_NAME = 100
"""Characters of the name of an account or a key."""


@dataclass(frozen=True, slots=True)
class Account:
    """`disabled_s` is when it was disabled; None while its keys may be used. `limits` are its own, by the
    names of a tier's fields.
    """

    id: str
    name: str
    tier: str
    created_s: float
    disabled_s: float | None
    limits: Mapping[str, int | str] = field(default_factory=dict[str, int | str])


def create(connection: Connection, name: str, tier: str, *, by: str) -> Account:
    """Raises `OperatorError` for an invalid name, `NameTaken` if another account has it."""
    require_name(name)
    if name in RESERVED or name.startswith(PREFIX):
        raise OperatorError(f"The name {name!r} is reserved. Choose another one.", param="name")
    account = Account(PREFIX + secrets.token_hex(10), name, tier, time.time(), None)
    try:
        connection.execute(insert(ACCOUNTS).values(**asdict(account) | {"limits": None}))
    except IntegrityError as error:
        message = f"There is an account {name!r} already. Choose another name."
        raise NameTaken(message, param="name") from error
    audit.record(connection, by, "account.create", account.id, {"name": name, "tier": tier})
    return account


def find(connection: Connection, name_or_id: str, *, to_change: bool = False) -> Account:
    """Raises `NotThere`. With `to_change`, the row is locked until the transaction has ended."""
    its_own = or_(ACCOUNTS.c.id == name_or_id, ACCOUNTS.c.name == name_or_id)
    if can_be_name(name_or_id):  # PostgreSQL raises an error for some texts that cannot
        rows = select(ACCOUNTS).where(its_own)
        row = connection.execute(locked(connection, rows) if to_change else rows).mappings().first()
        if row is not None:
            return account_of(row)
    message = f"There is no account {name_or_id[:MAX_NAME]!r}. List them to see all of them."
    raise NotThere(message, code="account_not_found")


def page(connection: Connection, question: PageQuestion) -> Page[Account]:
    """The accounts in any order of `SORTED_BY`."""
    found = read_page(
        connection, select(ACCOUNTS), question, id=ACCOUNTS.c.id, columns=SORTED_BY, searched=_SEARCHED
    )
    return Page([account_of(row) for row in found.rows], found.n_found, found.last)


def that_may_have_budgets(connection: Connection, tiers: Sequence[str]) -> list[Account]:
    """Those of these tiers, those with limits of their own, and those whose keys have budgets, by name."""
    of_keys = select(KEYS.c.account_id).where(KEYS.c.budgets.is_not(null()))
    query = select(ACCOUNTS).where(
        or_(ACCOUNTS.c.tier.in_(tiers), ACCOUNTS.c.limits.is_not(null()), ACCOUNTS.c.id.in_(of_keys))
    )
    return [account_of(row) for row in connection.execute(query.order_by(ACCOUNTS.c.name)).mappings()]


def set_tier(connection: Connection, name_or_id: str, tier: str, *, by: str) -> Account:
    """Raises `NotThere`."""
    account = find(connection, name_or_id, to_change=True)
    if account.tier != tier:
        connection.execute(update(ACCOUNTS).where(ACCOUNTS.c.id == account.id).values(tier=tier))
        audit.record(connection, by, "account.set-tier", account.id, {"tier": tier, "before": account.tier})
    return find(connection, account.id)


def set_limits(
    connection: Connection, name_or_id: str, limits: Mapping[str, int | str], *, by: str
) -> Account:
    """Replaces the account's own limits. Raises `NotThere`."""
    account = find(connection, name_or_id, to_change=True)
    if account.limits != limits:
        changed = update(ACCOUNTS).where(ACCOUNTS.c.id == account.id)
        connection.execute(changed.values(limits=dict(limits) or None))
        detail = {"limits": dict(limits), "before": dict(account.limits)}
        audit.record(connection, by, "account.set-limits", account.id, detail)
    return find(connection, account.id)


def delete(connection: Connection, name_or_id: str, *, erases_usage: bool, by: str) -> Account:
    """Deletes the account, its keys and, if asked, its usage, which otherwise stays under the account's id.
    Raises `NotThere`.
    """
    account = find(connection, name_or_id, to_change=True)
    keys = connection.scalars(select(KEYS.c.id).where(KEYS.c.account_id == account.id)).all()
    of_usage = (USAGE, USAGE_DAILY, USAGE_DAILY_BY_ACCOUNT) if erases_usage else ()
    gone = (KEYS, BUDGET_WARNINGS, *of_usage)
    for table in gone:
        connection.execute(delete_rows(table).where(table.c.account_id == account.id))
    connection.execute(delete_rows(ACCOUNTS).where(ACCOUNTS.c.id == account.id))
    detail = {"usage": "erased" if erases_usage else "kept", "keys": list(keys)}
    audit.record(connection, by, "account.delete", account.id, detail)
    return account


def set_enabled(connection: Connection, name_or_id: str, enabled: bool, *, by: str) -> Account:
    """While an account is disabled, none of its keys is valid. Raises `NotThere`."""
    account = find(connection, name_or_id, to_change=True)
    if enabled != (account.disabled_s is None):
        disabled_s = None if enabled else time.time()
        connection.execute(update(ACCOUNTS).where(ACCOUNTS.c.id == account.id).values(disabled_s=disabled_s))
        audit.record(connection, by, "account.enable" if enabled else "account.disable", account.id)
    return find(connection, account.id)


def account_of(row: RowMapping) -> Account:
    """The account of a row, which may have other tables' columns too."""
    *fields, limits = (row[column] for column in ACCOUNTS.c)
    return Account(*fields, limits=limits or {})


def can_be_name(text: str, max_characters: int = MAX_NAME) -> bool:
    """Whether a text can be a name or an id in the store."""
    return 0 < len(text) <= max_characters and text.isprintable() and text == text.strip()


def require_name(name: str) -> None:
    """Raises `OperatorError` if a text cannot be the name of an account or a key."""
    if not can_be_name(name):
        raise OperatorError(
            f"{name[:MAX_NAME]!r} is no name: send 1 to {MAX_NAME} printable characters.", param="name"
        )
