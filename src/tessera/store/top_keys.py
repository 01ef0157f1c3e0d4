"""Which keys may be among those with the most tokens, found without adding up all columns of all keys.

`GROUP BY key_id` would sort every sum of every day of the period. The index `ix_usage_daily_key` has the sums
of each key together, in the order of their days, and it contains the counts that decide. So it is read key by
key, with one search for the days of the period. The days of other periods cost nothing.
"""

from collections.abc import Iterator

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, func, select, text

from tessera.core.usage import UsageQuestion
from tessera.store.tables import ACCOUNTS, KEYS, USAGE, USAGE_DAILY, USAGE_DAILY_BY_ACCOUNT

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
    return sorted(names | _most_used(connection, question, question.top))


def _most_used(connection: Connection, question: UsageQuestion, n_keys: int) -> set[str]:
    """Those with the most tokens in the sums of the days, and as many of accounts that are no rows: the
    operator's, and those that were deleted.
    """
    key = USAGE_DAILY.c.key_id
    days = [*of_days(USAGE_DAILY, question)]
    tokens = func.sum(USAGE_DAILY.c.prompt_tokens + USAGE_DAILY.c.completion_tokens)
    # An outer join, or SQLite would walk the days and look up the key of each of their sums.
    of_keys = KEYS.outerjoin(USAGE_DAILY, and_(key == KEYS.c.id, *days))
    known = select(KEYS.c.id).select_from(of_keys).group_by(KEYS.c.id).having(func.count(key) > 0)
    unknown = select(key).where(USAGE_DAILY.c.account_id.in_(_accounts_without_rows()), *days).group_by(key)
    return {
        *connection.scalars(known.order_by(tokens.desc(), KEYS.c.id).limit(n_keys)),
        *connection.scalars(unknown.order_by(tokens.desc(), key).limit(n_keys)),
    }


def _accounts_without_rows() -> Select[tuple[str]]:
    """The accounts of sums, which are found by a search for the next one each, that are not in the table."""
    account = USAGE_DAILY_BY_ACCOUNT.c.account_id
    found = select(func.min(account).label("id")).cte("accounts_of_sums", recursive=True)
    following = select(func.min(account)).where(account > found.c.id).correlate(found).scalar_subquery()
    found = found.union_all(select(following).where(found.c.id.is_not(None)))
    return select(found.c.id).where(found.c.id.is_not(None), found.c.id.not_in(select(ACCOUNTS.c.id)))
