"""The tables. Times are Unix seconds. No table holds anything that a client wrote or a model said."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    false,
    text,
)
from sqlalchemy.types import JSON

METADATA = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
    }
)

# `limits` are the account's own, over those of its tier.
ACCOUNTS = Table(
    "accounts",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("name", String(100), nullable=False, unique=True),
    Column("tier", String(50), nullable=False),
    Column("created_s", Float, nullable=False),
    Column("disabled_s", Float),
    Column("limits", JSON(none_as_null=True)),
)

# `digest` is all that is stored of the secret, and `pepper` names the one that it was derived with; `models`
# None allows all models.
KEYS = Table(
    "keys",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("account_id", String(32), ForeignKey("accounts.id"), nullable=False, index=True),
    Column("name", String(100), nullable=False),
    Column("digest", LargeBinary(32), nullable=False, unique=True),
    Column("last4", String(4), nullable=False),
    Column("created_s", Float, nullable=False),
    Column("last_used_s", Float),
    Column("expires_s", Float),
    Column("revoked_s", Float),
    Column("models", JSON(none_as_null=True)),
    Column("burst_rpm", Integer),
    Column("burst_until_s", Float),
    Column("budgets", JSON(none_as_null=True)),
    Column("pepper", String(16)),
)

# What tells peppers apart. The latest is the one that new digests are derived with.
PEPPERS = Table(
    "peppers",
    METADATA,
    Column("id", String(16), primary_key=True),
    Column("check_value", LargeBinary(32), nullable=False),
    Column("since_s", Float, nullable=False),
)

_IS_OPEN = text("finish = 'open'")
_UNCOUNTED = text("NOT counted")
# One row for each chat request. `finish` is "open" until it has ended. `day` is UTC. `counted` rows are part
# of the sums of their day, and do not change any more.
USAGE = Table(
    "usage",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("account_id", String(32), nullable=False),
    Column("key_id", String(32), nullable=False),
    Column("model", String(200), nullable=False),
    Column("mode", String(16), nullable=False),
    Column("streamed", Boolean, nullable=False),
    Column("instance", String(32), nullable=False),
    Column("day", String(10), nullable=False),
    Column("begun_s", Float, nullable=False),
    Column("prompt_tokens", Integer, nullable=False),
    Column("cached_tokens", Integer, nullable=False),
    Column("completion_tokens", Integer, nullable=False),
    Column("reasoning_tokens", Integer, nullable=False),
    Column("finish", String(64), nullable=False),
    Column("waited_s", Float),
    Column("first_token_s", Float),
    Column("whole_s", Float),
    Column("counted", Boolean, nullable=False, server_default=false()),
    Index("ix_usage_day_account", "day", "account_id"),
    Index("ix_usage_uncounted", "day", sqlite_where=_UNCOUNTED, postgresql_where=_UNCOUNTED),
    Index("ix_usage_open", "instance", sqlite_where=_IS_OPEN, postgresql_where=_IS_OPEN),
)


def _sums() -> list[Column[int]]:
    names = (
        "n_requests",
        "n_failed",
        "prompt_tokens",
        "cached_tokens",
        "completion_tokens",
        "reasoning_tokens",
    )
    return [Column(name, BigInteger, nullable=False) for name in names]


# Sums of the counted rows of a day (UTC); they are kept when the rows are deleted.
USAGE_DAILY = Table(
    "usage_daily",
    METADATA,
    Column("day", String(10), primary_key=True),
    Column("account_id", String(32), primary_key=True),
    Column("key_id", String(32), primary_key=True),
    Column("model", String(200), primary_key=True),
    *_sums(),
    Index("ix_usage_daily_account", "account_id", "day"),
    # With the tokens: `top_keys` reads nothing but this index.
    Index("ix_usage_daily_key", "key_id", "day", "prompt_tokens", "completion_tokens"),
)

# The same for all keys of an account together: it may have thousands, and few questions are about keys.
USAGE_DAILY_BY_ACCOUNT = Table(
    "usage_daily_by_account",
    METADATA,
    Column("day", String(10), primary_key=True),
    Column("account_id", String(32), primary_key=True),
    Column("model", String(200), primary_key=True),
    *_sums(),
    Index("ix_usage_daily_by_account_account", "account_id", "day"),
)

# Processes that write usage, with the time of their last heartbeat and the tiers that they know: open rows of
# dead ones are closed.
INSTANCES = Table(
    "instances",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("seen_s", Float, nullable=False),
    Column("tiers", JSON(none_as_null=True)),
)

_IS_WAITING = text("next_attempt_s IS NOT NULL")
# Thresholds of budgets that were crossed, each once, with the message of the webhook. `next_attempt_s` is
# None when nothing is to be sent any more.
BUDGET_WARNINGS = Table(
    "budget_warnings",
    METADATA,
    Column("id", String(160), primary_key=True),
    Column("account_id", String(32), nullable=False),
    Column("crossed_s", Float, nullable=False),
    Column("message", JSON, nullable=False),
    Column("n_attempts", Integer, nullable=False),
    Column("next_attempt_s", Float),
    Index(
        "ix_budget_warnings_waiting",
        "next_attempt_s",
        sqlite_where=_IS_WAITING,
        postgresql_where=_IS_WAITING,
    ),
)

AUDIT = Table(
    "audit",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at_s", Float, nullable=False, index=True),
    Column("actor", String(100), nullable=False),
    Column("action", String(50), nullable=False),
    Column("subject", String(64), nullable=False),
    Column("detail", JSON, nullable=False),
)
