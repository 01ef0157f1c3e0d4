"""`tessera audit`: who changed accounts and keys, and when."""

import click

from tessera.cli.options import with_settings
from tessera.cli.rows import AS_JSON, show
from tessera.operator import actions
from tessera.operator.forms import MAX_CHANGE_ID, MAX_CHANGES, AuditQuery
from tessera.server.migrating import changing
from tessera.settings import Settings


@click.command()
@click.option("--account", metavar="NAME", help="Only changes to this account and its keys, by name or id.")
@click.option("--key", metavar="ID", help="Only changes to this key.")
@click.option(
    "--since", metavar="DATE", help="Only changes since then (UTC): 2026-01-31 or 2026-01-31T18:00:00."
)
@click.option(
    "--before",
    metavar="ID",
    type=click.IntRange(1, MAX_CHANGE_ID),
    help="Only changes before the one with this id.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, MAX_CHANGES),
    default=100,
    show_default=True,
    help="Maximum number of rows.",
)
@AS_JSON
@with_settings("database_url")
def audit(
    settings: Settings,
    account: str | None,
    key: str | None,
    since: str | None,
    before: int | None,
    limit: int,
    as_json: bool,
) -> None:
    """Show who created, changed and revoked accounts and keys, the latest first."""
    query = AuditQuery(account=account, key=key, since=since, before=before, limit=limit)
    with changing(settings) as store:
        rows = actions.show_audit(store, query)
    show(rows, as_json, "No changes.")
