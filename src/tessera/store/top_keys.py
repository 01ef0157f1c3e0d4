"""Which keys may be among those with the most tokens, found without adding up all columns of all keys.

`GROUP BY key_id` would sort every sum of every day of the period. The index `ix_usage_daily_key` has the sums
of each key together, in the order of their days, and it contains the counts that decide. So it is read key by
key: one search for the next key, and one for its days of the period. The days of other periods cost nothing.
"""

from collections.abc import Iterator

from sqlalchemy import ColumnElement, Connection, Table, func, select, text

from tessera.core.usage import UsageQuestion
from tessera.store.tables import USAGE, USAGE_DAILY

# As the partial index has it, so that SQLite uses that.
UNCOUNTED = text("NOT usage.counted")
_MAX_KEYS = 2000


def of_days(table: Table, question: UsageQuestion) -> Iterator[ColumnElement[bool]]:
    """The conditions of a question's first and last day."""
    if question.since is not None:
        yield table.c.day >= question.since
    if question.until is not None:
        yield table.c.day <= question.until


def candidates(connection: Connection, question: UsageQuestion) -> list[str] | None:
    """Keys that include the `top` ones of a question about the keys of all accounts. None for any other
    question, and if they would be too many to name.

    A key with requests that are in no sum yet is always among them. Any other is if its sums are.
    """
    is_about_all = question.account is question.named is question.key is None
    if question.by != ("key",) or question.top is None or not is_about_all:
        return None
    key = USAGE.c.key_id
    uncounted = select(key).where(UNCOUNTED, *of_days(USAGE, question)).group_by(key).limit(_MAX_KEYS + 1)
    names = {*connection.scalars(uncounted)}
    if len(names) + question.top > _MAX_KEYS:
        return None
    return sorted(names.union(_most_used(connection, question, question.top)))


def _most_used(connection: Connection, question: UsageQuestion, n_keys: int) -> list[str]:
    """Those with the most tokens in the sums of the days."""
    key = USAGE_DAILY.c.key_id
    keys = select(func.min(key).label("id")).cte("keys_of_sums", recursive=True)
    following = select(func.min(key)).where(key > keys.c.id).correlate(keys).scalar_subquery()
    keys = keys.union_all(select(following).where(keys.c.id.is_not(None)))
    counts = func.sum(USAGE_DAILY.c.prompt_tokens + USAGE_DAILY.c.completion_tokens)
    in_period = select(counts).where(key == keys.c.id, *of_days(USAGE_DAILY, question))
    tokens = in_period.correlate(keys).scalar_subquery()
    each = select(keys.c.id, tokens.label("tokens")).where(keys.c.id.is_not(None)).subquery()
    used = select(each.c.id).where(each.c.tokens.is_not(None))
    return [*connection.scalars(used.order_by(each.c.tokens.desc(), each.c.id).limit(n_keys))]
