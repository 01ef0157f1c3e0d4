"""The index of sums by key has the tokens, so that the most used keys are found in it alone"""

from alembic import op

revision = "0004"
down_revision = "0003"

_NAME = "ix_usage_daily_key"


def upgrade() -> None:
    """Brings the schema to this revision."""
    op.drop_index(_NAME, "usage_daily")
    op.create_index(_NAME, "usage_daily", ["key_id", "day", "prompt_tokens", "completion_tokens"])


def downgrade() -> None:
    """Brings the schema back to the revision before."""
    op.drop_index(_NAME, "usage_daily")
    op.create_index(_NAME, "usage_daily", ["key_id", "day"])
