"""${message}"""

import sqlalchemy as sa
from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """Brings the schema to this revision."""
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    """Brings the schema back to the revision before."""
    ${downgrades if downgrades else "pass"}
