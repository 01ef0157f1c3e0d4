"""`tessera store`: where accounts, keys and usage are kept."""

import sys

import click

from tessera.cli.options import with_settings
from tessera.cli.rows import AS_JSON, show_one
from tessera.cli.storage import database_url
from tessera.settings import Settings
from tessera.store import migration
from tessera.store.opening import Store, open_store, shown

_OPENED = with_settings("database_url")


@click.group()
def store() -> None:
    """Bring the store up to date, take it back, and look whether it is whole."""


@store.command()
@AS_JSON
@_OPENED
def upgrade(settings: Settings, as_json: bool) -> None:
    """Make the tables that this version needs. `tessera serve` does it by itself."""
    opened = open_store(database_url(settings))
    migration.upgrade(opened)
    _show(opened, settings, as_json)


@store.command()
@click.argument("revision", metavar="REV")
@AS_JSON
@_OPENED
def downgrade(settings: Settings, revision: str, as_json: bool) -> None:
    """Go back to an older revision, `base` for empty; what only the newer one keeps is lost."""
    opened = open_store(database_url(settings))
    migration.downgrade(opened, revision)
    _show(opened, settings, as_json)


@store.command()
@AS_JSON
@_OPENED
def check(settings: Settings, as_json: bool) -> None:
    """Say where the store is and whether it is as this version needs it; exit status 1 if it is not."""
    if not _show(open_store(database_url(settings)), settings, as_json):
        sys.exit(1)


def _show(opened: Store, settings: Settings, as_json: bool) -> bool:
    """Whether it is up to date."""
    found, differences = migration.current(opened), migration.differences(opened)
    row = {
        "url": shown(database_url(settings)),
        "revision": found,
        "needed": migration.latest(),
        "differences": differences,
    }
    show_one(row, as_json)
    return found == migration.latest() and not differences
