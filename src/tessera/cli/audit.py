"""`tessera audit`: who changed accounts and keys, and when."""

from collections.abc import Sequence

import click
import msgspec

from tessera.cli.rows import shows_rows
from tessera.operator import actions
from tessera.operator.forms import MAX_CHANGE_ID, MAX_CHANGES, AuditQuery
from tessera.operator.rows import Row
from tessera.settings import Settings
from tessera.store.database import Transaction


@click.command()
@click.option("--account", metavar="NAME", help="Of this account and its keys, by name or id.")
@click.option("--key", metavar="ID", help="Of this key.")
@click.option("--since", metavar="DATE", help="From then on (UTC), as 2026-01-31 or 2026-01-31T18:00:00.")
@click.option(
    "--before",
    metavar="ID",
    type=click.IntRange(1, MAX_CHANGE_ID),
    help="Older than the change of this id.",
)
@click.option(
    "--limit", type=click.IntRange(1, MAX_CHANGES), default=100, show_default=True, help="Rows at most."
)
@shows_rows("No changes.")
def audit(settings: Settings, store: Transaction, **query: object) -> Sequence[Row]:
    """Show who made, changed and revoked accounts and keys, the latest first."""
    return actions.show_audit(store, msgspec.convert(query, AuditQuery))
