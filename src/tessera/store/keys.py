"""API keys: what is kept of them, and what they may be used for. Each change is a row of the audit."""

import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, case, insert, null, select
from sqlalchemy import update as update_rows

from tessera.core.budgets import BUDGETS, MAX_BUDGET_TOKENS
from tessera.errors import NotThere, OperatorError
from tessera.store import audit
from tessera.store.accounts import MAX_NAME, Account, can_be_name, require_name
from tessera.store.database import locked
from tessera.store.pages import Page, PageQuestion, read_page
from tessera.store.tables import ACCOUNTS, KEYS

_MAX_MODELS = 100
_MAX_MODEL_NAME = 200

_COLUMNS: Mapping[str, ColumnElement[Any]] = MappingProxyType(
    {
        "account": ACCOUNTS.c.name,
        **{name: KEYS.c[name] for name in ("name", "last4", "created_s", "last_used_s", "expires_s")},
    }
)
SORTED_BY = (*_COLUMNS, "state")
_SEARCHED = (KEYS.c.name, ACCOUNTS.c.name, KEYS.c.id, KEYS.c.last4)


@dataclass(frozen=True, slots=True)
class Terms:
    """What can be changed of a key. `models` None allows all models. Until `burst_until_s`, `burst_rpm`
    replaces the tier's limit of bursts. `expires_s` None is never. `budgets` are tokens by name, besides
    those of the account.
    """

    name: str
    expires_s: float | None = None
    models: tuple[str, ...] | None = None
    burst_rpm: int | None = None
    burst_until_s: float | None = None
    budgets: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """One key; `last4` is all of its secret that can be shown. `last_used_s` may be a minute late. `pepper`
    names the one that its digest was derived with; None is that of a store that kept no check value yet.
    """

    id: str
    account_id: str
    last4: str
    terms: Terms
    created_s: float
    last_used_s: float | None = None
    revoked_s: float | None = None
    pepper: str | None = None

    def state(self, now_s: float) -> str:
        """`active`, `expired` or `revoked`."""
        if self.revoked_s is not None:
            return "revoked"
        expires_s = self.terms.expires_s
        return "expired" if expires_s is not None and expires_s <= now_s else "active"


def create(
    connection: Connection,
    account: Account,
    terms: Terms,
    *,
    digest: bytes,
    last4: str,
    by: str,
    pepper: str | None = None,
) -> Key:
    """`digest` is all that is stored of the secret, and `pepper` names what it was derived with. Raises
    `OperatorError` for invalid terms.
    """
    _check(terms)
    key = Key("key_" + secrets.token_hex(10), account.id, last4, terms, time.time(), pepper=pepper)
    row = {"id": key.id, "account_id": account.id, "digest": digest, "last4": last4, "pepper": pepper}
    connection.execute(insert(KEYS).values(**row, created_s=key.created_s, **_columns(terms)))
    audit.record(connection, by, "key.create", key.id, {"account_id": account.id, **_columns(terms)})
    return key


def find(connection: Connection, key_id: str, *, to_change: bool = False) -> Key:
    """Raises `NotThere`. With `to_change`, the row is locked until the transaction has ended."""
    if can_be_name(key_id):
        rows = select(KEYS).where(KEYS.c.id == key_id)
        row = connection.execute(locked(connection, rows) if to_change else rows).mappings().first()
        if row is not None:
            return key_of(row)
    message = f"There is no key {key_id[:MAX_NAME]!r}. List them to see all of them."
    raise NotThere(message, code="key_not_found")


def with_budgets(connection: Connection, account_id: str | None) -> list[Key]:
    """The keys of an account, or of all, that have budgets of their own, in the order of their creation."""
    query = select(KEYS).where(KEYS.c.budgets.is_not(null())).order_by(KEYS.c.created_s, KEYS.c.id)
    if account_id is not None:
        query = query.where(KEYS.c.account_id == account_id)
    return [key_of(row) for row in connection.execute(query).mappings()]


def page(
    connection: Connection, question: PageQuestion, account_id: str | None = None
) -> Page[tuple[Key, str]]:
    """The keys of an account, or of all, in any order of `SORTED_BY`, each with its account's name."""
    rows = select(KEYS, ACCOUNTS.c.name.label("account")).join(ACCOUNTS, ACCOUNTS.c.id == KEYS.c.account_id)
    if account_id is not None:
        rows = rows.where(KEYS.c.account_id == account_id)
    columns = {**_COLUMNS, "state": _state(time.time())}
    found = read_page(connection, rows, question, id=KEYS.c.id, columns=columns, searched=_SEARCHED)
    return Page([(key_of(row), row["account"]) for row in found.rows], found.n_found, found.last)


def update(connection: Connection, key_id: str, terms: Terms, *, by: str) -> Key:
    """Gives a key other terms; raises `NotThere`, or `OperatorError` for invalid terms."""
    key = find(connection, key_id, to_change=True)
    _check(terms)
    before = _columns(key.terms)
    after = _columns(terms)
    changed = {name: value for name, value in after.items() if value != before[name]}
    if changed:
        connection.execute(update_rows(KEYS).where(KEYS.c.id == key_id).values(**changed))
        audit.record(connection, by, "key.update", key_id, changed)
    return find(connection, key_id)


def revoke(connection: Connection, key_id: str, *, by: str) -> Key:
    """Revokes a key for ever; idempotent. Raises `NotThere`."""
    if find(connection, key_id, to_change=True).revoked_s is None:
        connection.execute(update_rows(KEYS).where(KEYS.c.id == key_id).values(revoked_s=time.time()))
        audit.record(connection, by, "key.revoke", key_id)
    return find(connection, key_id)


def key_of(row: RowMapping) -> Key:
    """The key of a row, which may have other tables' columns too."""
    values = {column.name: row[column] for column in KEYS.c if column is not KEYS.c.digest}
    terms = {field.name: values.pop(field.name) for field in fields(Terms)}
    if terms["models"] is not None:
        terms["models"] = tuple(terms["models"])
    return Key(**values, terms=Terms(**terms))


def _state(now_s: float) -> ColumnElement[str]:
    """The expression of `Key.state` in SQL."""
    is_over = KEYS.c.expires_s <= now_s
    return case((KEYS.c.revoked_s.is_not(None), "revoked"), (is_over, "expired"), else_="active")


def _columns(terms: Terms) -> dict[str, object]:
    models = None if terms.models is None else list(terms.models)
    return {**asdict(terms), "models": models, "budgets": dict(terms.budgets) if terms.budgets else None}


def _check(terms: Terms) -> None:
    require_name(terms.name)
    if terms.models is not None:
        _check_models(terms.models)
    if (terms.burst_rpm is None) != (terms.burst_until_s is None):
        missing = "burst_rpm" if terms.burst_rpm is None else "burst_until_s"
        raise OperatorError(
            "A burst has both a number of requests a minute and a date at which it ends.", param=missing
        )
    if terms.burst_rpm is not None and not 0 < terms.burst_rpm < 2**31:
        raise OperatorError(
            "Requests per minute must be a whole number from 1 to 2147483647.", param="burst_rpm"
        )
    for name, tokens in (terms.budgets or {}).items():
        if name not in BUDGETS:
            names = ", ".join(BUDGETS)
            raise OperatorError(f"There is no budget {name[:50]!r}. Use {names}.", param="budgets")
        if not 0 <= tokens <= MAX_BUDGET_TOKENS:
            raise OperatorError(
                f"{name} must be a whole number from 0 to {MAX_BUDGET_TOKENS}.", param="budgets"
            )


def _check_models(names: tuple[str, ...]) -> None:
    if not 0 < len(names) <= _MAX_MODELS:
        raise OperatorError(
            f"A key is for 1 to {_MAX_MODELS} models, or for all: name them, or revoke it.", param="models"
        )
    if wrong := [name for name in names if not can_be_name(name, _MAX_MODEL_NAME)]:
        raise OperatorError(f"{wrong[0][:MAX_NAME]!r} is not the name of a model.", param="models")
