"""Limits of accounts, budgets and their warnings, the tiers of servers, check values of peppers"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Brings the schema to this revision."""
    op.add_column("accounts", sa.Column("limits", sa.JSON(none_as_null=True), nullable=True))
    op.add_column("keys", sa.Column("budgets", sa.JSON(none_as_null=True), nullable=True))
    op.add_column("keys", sa.Column("pepper", sa.String(length=16), nullable=True))
    op.add_column("instances", sa.Column("tiers", sa.JSON(none_as_null=True), nullable=True))
    op.create_table(
        "peppers",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("check_value", sa.LargeBinary(length=32), nullable=False),
        sa.Column("since_s", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_peppers"),
    )
    op.create_table(
        "budget_warnings",
        sa.Column("id", sa.String(length=160), nullable=False),
        sa.Column("account_id", sa.String(length=32), nullable=False),
        sa.Column("crossed_s", sa.Float(), nullable=False),
        sa.Column("message", sa.JSON(), nullable=False),
        sa.Column("n_attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_s", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_budget_warnings"),
    )
    is_waiting = sa.text("next_attempt_s IS NOT NULL")
    op.create_index(
        "ix_budget_warnings_waiting",
        "budget_warnings",
        ["next_attempt_s"],
        sqlite_where=is_waiting,
        postgresql_where=is_waiting,
    )


def downgrade() -> None:
    """Brings the schema back to the revision before."""
    op.drop_index("ix_budget_warnings_waiting", "budget_warnings")
    op.drop_table("budget_warnings")
    op.drop_table("peppers")
    # SQLite would otherwise make the tables anew, and lose the rows that refer to them.
    for table, column in (
        ("instances", "tiers"),
        ("keys", "pepper"),
        ("keys", "budgets"),
        ("accounts", "limits"),
    ):
        op.drop_column(table, column)
