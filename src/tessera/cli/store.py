"""`tessera store`: where accounts, keys and usage are kept."""

import sys

import click

from tessera.cli.options import with_settings
from tessera.cli.rows import AS_JSON, name_store, show
from tessera.server.storage import database_url, opened
from tessera.settings import Settings
from tessera.store import migration
from tessera.store.database import Database, without_passwords

_OPENED = with_settings("database_url")


@click.group()
def store() -> None:
    """Upgrade, downgrade and check the store of accounts, keys and usage."""


@store.command()
@AS_JSON
@_OPENED
def upgrade(settings: Settings, as_json: bool) -> None:
    """Upgrade the tables to this version. `tessera serve` does this by itself."""
    with opened(settings) as found:
        migration.upgrade(found)
        name_store(settings)
        _show(found, settings, as_json)


@store.command()
@click.argument("revision", metavar="REV")
@AS_JSON
@_OPENED
def downgrade(settings: Settings, revision: str, as_json: bool) -> None:
    """Go back to revision REV (`base` removes all tables); data that only newer revisions have is lost."""
    with opened(settings) as found:
        migration.downgrade(found, revision)
        name_store(settings)
        _show(found, settings, as_json)


@store.command()
@AS_JSON
@_OPENED
def check(settings: Settings, as_json: bool) -> None:
    """Show where the store is and whether its tables are those of this version; exit status 1 if not."""
    with opened(settings) as found:
        if not _show(found, settings, as_json):
            sys.exit(1)


def _show(found: Database, settings: Settings, as_json: bool) -> bool:
    """Print the state of the store; return whether it is up to date."""
    revision, differences = migration.current(found), migration.differences(found)
    row = {
        "url": without_passwords(database_url(settings)),
        "revision": revision,
        "needed": migration.latest(),
        "differences": differences,
    }
    show(row, as_json)
    return revision == migration.latest() and not differences
