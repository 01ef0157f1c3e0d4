"""Which keys may be among those with the most tokens, found without adding up all columns of all keys.

To add up all columns by key, the database would sort every sum of every day of the period. The index
`ix_usage_daily_key` has the sums of each key together and contains the counts that decide, so it is read once
from end to end, also the days of other periods: more than ten million sums a second.
"""

from collections.abc import Iterator

from sqlalchemy import ColumnElement, Connection, func, literal_column, select, text

from tessera.core.usage import UsageQuestion
from tessera.store.tables import USAGE, USAGE_DAILY

# As the partial index has it, so that SQLite uses that.
UNCOUNTED = text("NOT usage.counted")
_MAX_KEYS = 2000


def of_days(day: ColumnElement[str], question: UsageQuestion) -> Iterator[ColumnElement[bool]]:
    """The conditions of a question's first and last day."""
    if question.since is not None:
        yield day >= question.since
    if question.until is not None:
        yield day <= question.until


def candidates(connection: Connection, question: UsageQuestion) -> list[str] | None:
    """Keys that include the `top` ones of a question about the keys of all accounts. None for any other
    question, and if they would be too many to name.

    A key with requests that are in no sum yet is always among them; any other is if its sums are among the
    highest.
    """
    is_about_all = question.account is question.named is question.key is None
    if question.by != ("key",) or question.top is None or not is_about_all:
        return None
    key = USAGE.c.key_id
    uncounted = (
        select(key).where(UNCOUNTED, *of_days(USAGE.c.day, question)).group_by(key).limit(_MAX_KEYS + 1)
    )
    names = {*connection.scalars(uncounted)}
    if len(names) + question.top > _MAX_KEYS:
        return None
    return sorted(names | _most_used(connection, question, question.top))


def _most_used(connection: Connection, question: UsageQuestion, n_keys: int) -> set[str]:
    """Those with the most tokens in the sums of the days."""
    key = USAGE_DAILY.c.key_id
    tokens = func.sum(USAGE_DAILY.c.prompt_tokens + USAGE_DAILY.c.completion_tokens)
    # As an expression, or SQLite would look for the days, and then sort all that it has found by key.
    day = func.coalesce(USAGE_DAILY.c.day, literal_column("''"))
    used = select(key).where(*of_days(day, question)).group_by(key)
    return {*connection.scalars(used.order_by(tokens.desc(), key).limit(n_keys))}
