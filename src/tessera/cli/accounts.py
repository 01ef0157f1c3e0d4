"""`tessera accounts`: who may use the service, and how much."""

from collections.abc import Sequence

import click

from tessera.cli.rows import shows_rows
from tessera.operator import actions
from tessera.operator.forms import AccountChanges, ListQuery, NewAccount
from tessera.operator.rows import Row
from tessera.server.storage import actor
from tessera.server.wiring import tiers
from tessera.settings import Settings
from tessera.store.database import Transaction


@click.group()
def accounts() -> None:
    """Create, list and change the accounts that keys belong to. ACCOUNT is a name or an id."""


@accounts.command()
@click.argument("name")
@click.option("--tier", required=True, help="The tier of the account, such as lite.")
@shows_rows()
def create(settings: Settings, store: Transaction, name: str, tier: str) -> Row:
    """Create an account called NAME."""
    return actions.create_account(store, NewAccount(name=name, tier=tier), tiers(settings), by=actor())


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
@shows_rows()
def set_tier(settings: Settings, store: Transaction, account: str, tier: str) -> Row:
    """Move an account to another tier; this takes effect within 30 seconds."""
    return actions.change_account(store, account, AccountChanges(tier=tier), tiers(settings), by=actor())


@accounts.command()
@click.argument("account")
@shows_rows()
def disable(settings: Settings, store: Transaction, account: str) -> Row:
    """Disable an account: within 30 seconds, none of its keys is valid."""
    return actions.change_account(store, account, AccountChanges(disabled=True), tiers(settings), by=actor())


@accounts.command()
@click.argument("account")
@shows_rows()
def enable(settings: Settings, store: Transaction, account: str) -> Row:
    """Enable a disabled account: its keys are valid again."""
    return actions.change_account(store, account, AccountChanges(disabled=False), tiers(settings), by=actor())
