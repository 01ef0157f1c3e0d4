"""`tessera accounts`: who may use the service, and how much."""

import click

from tessera.cli.options import with_settings
from tessera.cli.rows import AS_JSON, show, show_one
from tessera.operator import actions
from tessera.operator.forms import AccountChanges, NewAccount
from tessera.server.migrating import changing
from tessera.server.storage import actor
from tessera.server.wiring import tiers
from tessera.settings import Settings

_OPENED = with_settings("database_url")


@click.group()
def accounts() -> None:
    """Create, list and change the accounts that keys belong to. ACCOUNT is a name or an id."""


@accounts.command()
@click.argument("name")
@click.option("--tier", required=True, help="The tier of the account, such as lite.")
@AS_JSON
@_OPENED
def create(settings: Settings, name: str, tier: str, as_json: bool) -> None:
    """Create an account called NAME."""
    with changing(settings) as store:
        row = actions.create_account(store, NewAccount(name=name, tier=tier), tiers(settings), by=actor())
    show_one(row, as_json)


@accounts.command("list")
@AS_JSON
@_OPENED
def list_(settings: Settings, as_json: bool) -> None:
    """Show all accounts."""
    with changing(settings) as store:
        rows = actions.list_accounts(store)
    show(rows, as_json, "No accounts yet: tessera accounts create NAME.")


@accounts.command("show")
@click.argument("account")
@AS_JSON
@_OPENED
def show_(settings: Settings, account: str, as_json: bool) -> None:
    """Show one account."""
    with changing(settings) as store:
        row = actions.show_account(store, account)
    show_one(row, as_json)


@accounts.command()
@click.argument("account")
@click.argument("tier")
@AS_JSON
@_OPENED
def set_tier(settings: Settings, account: str, tier: str, as_json: bool) -> None:
    """Move an account to another tier; this takes effect within 30 seconds."""
    _change(settings, account, AccountChanges(tier=tier), as_json)


@accounts.command()
@click.argument("account")
@AS_JSON
@_OPENED
def disable(settings: Settings, account: str, as_json: bool) -> None:
    """Disable an account: within 30 seconds, none of its keys is valid."""
    _change(settings, account, AccountChanges(disabled=True), as_json)


@accounts.command()
@click.argument("account")
@AS_JSON
@_OPENED
def enable(settings: Settings, account: str, as_json: bool) -> None:
    """Enable a disabled account: its keys are valid again."""
    _change(settings, account, AccountChanges(disabled=False), as_json)


def _change(settings: Settings, account: str, changes: AccountChanges, as_json: bool) -> None:
    with changing(settings) as store:
        row = actions.change_account(store, account, changes, tiers(settings), by=actor())
    show_one(row, as_json)
