"""Migrations of the schema: upward at each start, downward by a command."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import text

from tessera.errors import OperatorError, StartupError
from tessera.store.database import Database, Transaction, transaction
from tessera.store.tables import METADATA

SCRIPTS = Path(__file__).parent / "migrations"
# An advisory lock: if several servers start at once on one database, one of them migrates, the others wait.
_LOCK = 0x7E55E8A


def upgrade(database: Database, revision: str = "head") -> None:
    """Brings the schema to `revision`, by default the one that this version needs.

    Raises `StoreUnavailable`, `OperatorError` for a revision that this version does not know, or
    `StartupError` for a database that is not in UTF-8.
    """
    _migrate(database, revision, command.upgrade)


def downgrade(database: Database, revision: str) -> None:
    """Takes the schema back to an older revision, `base` for no tables; raises as `upgrade` does."""
    _migrate(database, revision, command.downgrade)


def current(database: Database) -> str | None:
    """The revision of the database; None if it is empty."""
    with transaction(database) as connection:
        return MigrationContext.configure(connection).get_current_revision()


def latest() -> str | None:
    """The revision that this version needs."""
    return ScriptDirectory(str(SCRIPTS)).get_current_head()


def differences(database: Database) -> list[str]:
    """How the tables differ from this version's; nothing at the latest revision. Tables that are not ours
    are ignored.
    """

    def is_ours(name: str | None, kind: str, parents: object) -> bool:
        return kind != "table" or name in METADATA.tables

    with transaction(database) as connection:
        context = MigrationContext.configure(connection, opts={"include_name": is_ours})
        return [str(found) for found in compare_metadata(context, METADATA)]


def _migrate(database: Database, revision: str, move: Callable[[Config, str], None]) -> None:
    with transaction(database) as connection, _exclusive(connection):
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(SCRIPTS))
        try:
            move(config, revision)
        except (CommandError, AssertionError) as error:  # AssertionError: not in the form of a revision
            why = f": {error}" if str(error) else ""
            raise OperatorError(
                f"The store cannot be taken to {revision!r}{why}. A store of a newer version needs that "
                "version."
            ) from error


@contextmanager
def _exclusive(connection: Transaction) -> Generator[None]:
    """Keeps other migrations out until the transaction has ended."""
    if connection.dialect.name == "postgresql":
        from tessera.store.postgresql import without_timeouts

        with without_timeouts(connection):
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            _require_utf8(connection)
            yield
    else:  # SQLite's driver begins a transaction before changes of rows, but not of tables
        connection.execute(text("BEGIN IMMEDIATE"))
        yield


def _require_utf8(connection: Transaction) -> None:
    encoding = connection.execute(text("SHOW server_encoding")).scalar()
    if encoding != "UTF8":
        raise StartupError(
            f"The database is in {encoding}, which cannot hold every name. Make one with ENCODING 'UTF8' "
            "TEMPLATE template0."
        )
