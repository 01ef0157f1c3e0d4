"""Sums of days are made as usage comes, and there are sums without keys"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_SUMS = ("n_requests", "n_failed", "prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")
_UNCOUNTED = sa.text("NOT counted")

_FILL = """
INSERT INTO usage_daily_by_account (
    day, account_id, model,
    n_requests, n_failed, prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens
)
SELECT
    day, account_id, model,
    sum(n_requests), sum(n_failed),
    sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens), sum(reasoning_tokens)
FROM usage_daily
GROUP BY day, account_id, model
"""

_SUBTRACT = """
INSERT INTO usage_daily (
    day, account_id, key_id, model,
    n_requests, n_failed, prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens
)
SELECT
    day, account_id, key_id, model,
    -count(*), -sum(CASE WHEN finish IN ('stop', 'length', 'tool_calls') THEN 0 ELSE 1 END),
    -sum(prompt_tokens), -sum(cached_tokens), -sum(completion_tokens), -sum(reasoning_tokens)
FROM usage
WHERE counted
GROUP BY day, account_id, key_id, model
ON CONFLICT (day, account_id, key_id, model) DO UPDATE SET
    n_requests = usage_daily.n_requests + excluded.n_requests,
    n_failed = usage_daily.n_failed + excluded.n_failed,
    prompt_tokens = usage_daily.prompt_tokens + excluded.prompt_tokens,
    cached_tokens = usage_daily.cached_tokens + excluded.cached_tokens,
    completion_tokens = usage_daily.completion_tokens + excluded.completion_tokens,
    reasoning_tokens = usage_daily.reasoning_tokens + excluded.reasoning_tokens
"""


def upgrade() -> None:
    """Brings the schema to this revision."""
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
    op.execute(_FILL)


def downgrade() -> None:
    """Brings the schema back to the revision before."""
    """Back: requests whose rows are still there are no part of the sums."""
    op.execute(_SUBTRACT)
    op.execute("DELETE FROM usage_daily WHERE n_requests = 0")
    op.drop_index("ix_usage_daily_by_account_account", "usage_daily_by_account")
    op.drop_table("usage_daily_by_account")
    op.drop_index("ix_usage_daily_key", "usage_daily")
    op.drop_index("ix_usage_daily_account", "usage_daily")
    op.drop_index("ix_usage_uncounted", "usage")
    op.drop_column("usage", "counted")
