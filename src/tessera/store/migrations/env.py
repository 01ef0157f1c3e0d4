"""Run by alembic, on the connection that `store.migration` hands it."""

from alembic import context

from tessera.store.tables import METADATA

# SQLite changes a column by making the table anew.
context.configure(
    connection=context.config.attributes["connection"], target_metadata=METADATA, render_as_batch=True
)
context.run_migrations()
