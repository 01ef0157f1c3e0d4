"""`tessera store`: where accounts, keys and usage are kept."""

import sys
from pathlib import Path

import click

from tessera.cli.options import with_settings
from tessera.cli.rows import AS_JSON, name_store, show
from tessera.server.migrating import changing
from tessera.server.pepper_rotation import rotate
from tessera.server.storage import database_url, opened, pepper_state
from tessera.settings import Settings
from tessera.store import migration, peppers
from tessera.store.database import Database, transaction, without_passwords
from tessera.store.files import copy_to

_OPENED = with_settings("database_url")


@click.group()
def store() -> None:
    """Upgrade, downgrade, check and copy the store of accounts, keys and usage."""


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
@click.argument("target", type=click.Path(path_type=Path))
@_OPENED
def backup(settings: Settings, target: Path) -> None:
    """Copy an SQLite store to the new file TARGET, while servers may use it. The pepper is not copied."""
    with opened(settings) as found:
        copy_to(found, target)
    click.echo(f"Copied to {target}. Keep the pepper too, in another place.", err=True)


@store.command()
@click.option("--lost", is_flag=True, help="The old pepper is lost: revoke all keys, which need it.")
@AS_JSON
@_OPENED
def rotate_pepper(settings: Settings, lost: bool, as_json: bool) -> None:
    """Begin with a new pepper. A key moves to it when it is used after the server was restarted."""
    with changing(settings) as changes:
        n_revoked = rotate(settings, changes, lost=lost)
        row = {"pepper": peppers.current_id(changes), "keys_to_move": peppers.keys_of_former(changes)}
    name_store(settings)
    show({**row, "keys_revoked": n_revoked}, as_json)


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
    with transaction(found) as connection:
        row |= {
            "pepper": pepper_state(settings, connection),
            "keys_to_move": peppers.keys_of_former(connection),
        }
    show(row, as_json)
    return revision == migration.latest() and not differences
