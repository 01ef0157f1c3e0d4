"""`tessera accounts`: who may use the service, and how much."""

from collections.abc import Sequence
from typing import Literal

import click

from tessera.access.tiers import FIELDS, UNLIMITED
from tessera.cli.rows import shows_rows
from tessera.cli.values import read_numbers
from tessera.operator import actions
from tessera.operator.budgets import list_budgets
from tessera.operator.forms import AccountChanges, DeletionQuery, ListQuery, NewAccount
from tessera.operator.rows import Row
from tessera.server.storage import actor
from tessera.server.wiring import tiers
from tessera.settings import Settings
from tessera.store.database import Transaction

OF_TIER = "tier"
_LIMIT = (
    f"LIMIT=VALUE: a number, {UNLIMITED}, or {OF_TIER} for that of the tier. Limits are {', '.join(FIELDS)}."
)


@click.group()
def accounts() -> None:
    """Create, list, change and delete the accounts that keys belong to. ACCOUNT is a name or an id."""


@accounts.command()
@click.argument("name")
@click.option("--tier", required=True, help="The tier of the account, such as lite.")
@click.option("--limit", "limits", multiple=True, metavar="LIMIT=VALUE", help="A limit of its own.")
@shows_rows(writes=True)
def create(settings: Settings, store: Transaction, name: str, tier: str, limits: tuple[str, ...]) -> Row:
    """Create an account called NAME."""
    own = {limit: value for limit, value in read_numbers(limits, OF_TIER).items() if value is not None}
    form = NewAccount(name=name, tier=tier, limits=own)
    return actions.create_account(store, form, tiers(settings), by=actor())


@accounts.command("list")
@shows_rows("No accounts yet: tessera accounts create NAME.")
def list_(settings: Settings, store: Transaction) -> Sequence[Row]:
    """Show all accounts."""
    return actions.list_accounts(store, ListQuery()).rows


@accounts.command("show")
@click.argument("account")
@shows_rows()
def show_(settings: Settings, store: Transaction, account: str) -> Row:
    """Show one account."""
    return actions.show_account(store, account)


@accounts.command()
@click.argument("account")
@click.argument("tier")
@shows_rows(writes=True)
def set_tier(settings: Settings, store: Transaction, account: str, tier: str) -> Row:
    """Move an account to another tier; this takes effect within 30 seconds."""
    return actions.change_account(store, account, AccountChanges(tier=tier), tiers(settings), by=actor())


@accounts.command(epilog=_LIMIT)
@click.argument("account")
@click.argument("limits", nargs=-1, required=True, metavar="LIMIT=VALUE...")
@shows_rows(writes=True)
def set_limits(settings: Settings, store: Transaction, account: str, limits: tuple[str, ...]) -> Row:
    """Give an account limits of its own over its tier; this takes effect within 30 seconds."""
    changes = AccountChanges(limits=read_numbers(limits, OF_TIER))
    return actions.change_account(store, account, changes, tiers(settings), by=actor())


@accounts.command()
@click.argument("account", required=False)
@shows_rows("No budgets: set one with tessera accounts set-limits ACCOUNT total_tokens_per_month=N.")
def budgets(settings: Settings, store: Transaction, account: str | None) -> Sequence[Row]:
    """Show how much of its budgets an account, or without ACCOUNT each of them, has used."""
    return list_budgets(store, tiers(settings), account)


@accounts.command()
@click.argument("account")
@click.option(
    "--usage",
    type=click.Choice(["keep", "erase"]),
    required=True,
    help="Keep its usage under its id, without a name, or erase it.",
)
@shows_rows(writes=True)
def delete(settings: Settings, store: Transaction, account: str, usage: Literal["keep", "erase"]) -> Row:
    """Delete an account and its keys permanently; within 30 seconds, they are invalid everywhere."""
    return actions.delete_account(store, account, DeletionQuery(usage=usage), by=actor())


@accounts.command()
@click.argument("account")
@shows_rows(writes=True)
def disable(settings: Settings, store: Transaction, account: str) -> Row:
    """Disable an account: within 30 seconds, none of its keys is valid."""
    return actions.change_account(store, account, AccountChanges(disabled=True), tiers(settings), by=actor())


@accounts.command()
@click.argument("account")
@shows_rows(writes=True)
def enable(settings: Settings, store: Transaction, account: str) -> Row:
    """Enable a disabled account: its keys are valid again."""
    return actions.change_account(store, account, AccountChanges(disabled=False), tiers(settings), by=actor())
