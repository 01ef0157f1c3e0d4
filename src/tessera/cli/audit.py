"""`tessera audit`: who changed accounts and keys, and when."""

from collections.abc import Sequence

import click
import msgspec

from tessera.cli.rows import shows_rows
from tessera.operator import actions
from tessera.operator.forms import MAX_CHANGE_ID, MAX_ROWS, AuditQuery
from tessera.operator.rows import Row
from tessera.settings import Settings
from tessera.store.database import Transaction


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
    type=click.IntRange(1, MAX_ROWS),
    default=100,
    show_default=True,
    help="Maximum number of rows.",
)
@shows_rows("No changes.")
def audit(settings: Settings, store: Transaction, **query: object) -> Sequence[Row]:
    """Show who created, changed and revoked accounts and keys, the latest first."""
    return actions.show_audit(store, msgspec.convert(query, AuditQuery))
