"""The schema's versions: brought up to date at start, and taken back by hand."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, text

from tessera.errors import OperatorError, StartupError
from tessera.store.opening import transaction
from tessera.store.tables import METADATA

SCRIPTS = Path(__file__).parent / "migrations"
# Several servers may start at once on one store: one of them migrates, the others wait.
_LOCK = 0x7E55E8A


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Make the schema that this version needs.

    Raises `StoreUnavailable`, `OperatorError` for a revision that this version does not know, or
    `StartupError` for a database that is not in UTF-8.
    """
    _migrate(engine, revision, command.upgrade)


def downgrade(engine: Engine, revision: str) -> None:
    """Go back to an older schema, `base` for none at all; raises as `upgrade` does."""
    _migrate(engine, revision, command.downgrade)


def current(engine: Engine) -> str | None:
    """The revision that the store is at; None for an empty one."""
    with transaction(engine) as connection:
        return MigrationContext.configure(connection).get_current_revision()


def latest() -> str | None:
    """The revision that this version needs."""
    return ScriptDirectory(str(SCRIPTS)).get_current_head()


def differences(engine: Engine) -> list[str]:
    """What the store's tables have otherwise than this version's; none, if it is at the latest revision.
    Other tables that the database has are no matter of ours.
    """

    def is_ours(name: str | None, kind: str, parents: object) -> bool:
        return kind != "table" or name in METADATA.tables

    with transaction(engine) as connection:
        context = MigrationContext.configure(connection, opts={"include_name": is_ours})
        return [str(found) for found in compare_metadata(context, METADATA)]


def _migrate(engine: Engine, revision: str, move: Callable[[Config, str], None]) -> None:
    with transaction(engine) as connection, _alone(connection):
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(SCRIPTS))
        try:
            move(config, revision)
        except (CommandError, AssertionError) as error:  # the second for what does not look like a revision
            why = f": {error}" if str(error) else ""
            raise OperatorError(
                f"The store cannot be taken to {revision!r}{why}. A store of a newer version needs that "
                "version."
            ) from error


@contextmanager
def _alone(connection: Connection) -> Generator[None]:
    """In the transaction, for as long as it takes."""
    if connection.dialect.name == "postgresql":
        from tessera.store.postgresql import unhurried

        with unhurried(connection):
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            _require_utf8(connection)
            yield
    else:  # the driver begins a transaction before changes of rows only, not of tables
        connection.execute(text("BEGIN IMMEDIATE"))
        yield


def _require_utf8(connection: Connection) -> None:
    encoding = connection.execute(text("SHOW server_encoding")).scalar()
    if encoding != "UTF8":
        raise StartupError(
            f"The database is in {encoding}, which cannot hold every name. Make one with ENCODING 'UTF8' "
            "TEMPLATE template0."
        )
