"""`tessera accounts`: who may use the service, and how much."""

import click

from tessera.access.tiers import configured
from tessera.cli.options import with_settings
from tessera.cli.rows import AS_JSON, Row, show, show_one
from tessera.cli.storage import actor, changing
from tessera.settings import Settings
from tessera.store import accounts as book
from tessera.store.accounts import Account

_OPENED = with_settings("database_url")


@click.group()
def accounts() -> None:
    """Make, list and change the accounts that keys belong to. ACCOUNT is a name or an id."""


@accounts.command()
@click.argument("name")
@click.option("--tier", required=True, help="What the account may use, such as lite.")
@AS_JSON
@_OPENED
def create(settings: Settings, name: str, tier: str, as_json: bool) -> None:
    """Make an account called NAME."""
    configured(settings.tiers or {})[tier]
    with changing(settings) as store:
        account = book.create(store, name, tier, by=actor())
    show_one(_row(account), as_json)


@accounts.command("list")
@AS_JSON
@_OPENED
def list_(settings: Settings, as_json: bool) -> None:
    """Show all accounts."""
    with changing(settings) as store:
        everyone = book.everyone(store)
    show([_row(account) for account in everyone], as_json, "No accounts yet: tessera accounts create NAME.")


@accounts.command("show")
@click.argument("account")
@AS_JSON
@_OPENED
def show_(settings: Settings, account: str, as_json: bool) -> None:
    """Show one account."""
    with changing(settings) as store:
        found = book.find(store, account)
    show_one(_row(found), as_json)


@accounts.command()
@click.argument("account")
@click.argument("tier")
@AS_JSON
@_OPENED
def set_tier(settings: Settings, account: str, tier: str, as_json: bool) -> None:
    """Move an account to another tier; it acts within 30 seconds."""
    configured(settings.tiers or {})[tier]
    with changing(settings) as store:
        changed = book.set_tier(store, account, tier, by=actor())
    show_one(_row(changed), as_json)


@accounts.command()
@click.argument("account")
@AS_JSON
@_OPENED
def disable(settings: Settings, account: str, as_json: bool) -> None:
    """Let none of its keys be valid any more, within 30 seconds."""
    with changing(settings) as store:
        changed = book.set_enabled(store, account, False, by=actor())
    show_one(_row(changed), as_json)


@accounts.command()
@click.argument("account")
@AS_JSON
@_OPENED
def enable(settings: Settings, account: str, as_json: bool) -> None:
    """Let its keys be valid again."""
    with changing(settings) as store:
        changed = book.set_enabled(store, account, True, by=actor())
    show_one(_row(changed), as_json)


def _row(account: Account) -> Row:
    return {
        "id": account.id,
        "name": account.name,
        "tier": account.tier,
        "created_s": account.created_s,
        "disabled_s": account.disabled_s,
    }
