"""Sums of days are made as usage comes, and there are sums without keys"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_SUMS = ("n_requests", "n_failed", "prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")
_UNCOUNTED = sa.text("NOT counted")


def upgrade() -> None:
    """Forward."""
    op.add_column("usage", sa.Column("counted", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_index(
        "ix_usage_uncounted", "usage", ["day"], sqlite_where=_UNCOUNTED, postgresql_where=_UNCOUNTED
    )
    op.create_index("ix_usage_daily_account", "usage_daily", ["account_id", "day"])
    op.create_index("ix_usage_daily_key", "usage_daily", ["key_id", "day"])
    op.create_table(
        "usage_daily_by_account",
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("account_id", sa.String(length=32), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _SUMS),
        sa.PrimaryKeyConstraint("day", "account_id", "model", name="pk_usage_daily_by_account"),
    )
    op.create_index("ix_usage_daily_by_account_account", "usage_daily_by_account", ["account_id", "day"])
    op.execute(
        f"INSERT INTO usage_daily_by_account (day, account_id, model, {', '.join(_SUMS)}) "
        f"SELECT day, account_id, model, {', '.join(f'sum({name})' for name in _SUMS)} "
        "FROM usage_daily GROUP BY day, account_id, model"
    )


def downgrade() -> None:
    """Back: requests whose rows are still there are no part of the sums."""
    tokens = _SUMS[2:]
    is_failed = "CASE WHEN finish IN ('stop', 'length', 'tool_calls') THEN 0 ELSE 1 END"
    added = ", ".join(f"{name} = usage_daily.{name} + excluded.{name}" for name in _SUMS)
    op.execute(
        f"INSERT INTO usage_daily (day, account_id, key_id, model, {', '.join(_SUMS)}) "
        f"SELECT day, account_id, key_id, model, -count(*), -sum({is_failed}), "
        f"{', '.join(f'-sum({name})' for name in tokens)} FROM usage WHERE counted "
        "GROUP BY day, account_id, key_id, model "
        f"ON CONFLICT (day, account_id, key_id, model) DO UPDATE SET {added}"
    )
    op.execute("DELETE FROM usage_daily WHERE n_requests = 0")
    op.drop_index("ix_usage_daily_by_account_account", "usage_daily_by_account")
    op.drop_table("usage_daily_by_account")
    op.drop_index("ix_usage_daily_key", "usage_daily")
    op.drop_index("ix_usage_daily_account", "usage_daily")
    op.drop_index("ix_usage_uncounted", "usage")
    op.drop_column("usage", "counted")
