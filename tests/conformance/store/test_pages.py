"""Pages of lists, on every store: together they are the whole list, in any order."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tessera.store import accounts, keys
from tessera.store.database import Database, transaction
from tessera.store.pages import PageQuestion
from tessera.store.tables import ACCOUNTS, KEYS

NAMES = ("a", "B", "b%", "b_", "ñ", "<b>", "zz")


def put(opened: Database, rows: list[tuple[str, float, float | None, float | None]]) -> None:
    """Creates keys of two accounts from rows of name, creation, last use and expiry."""
    with transaction(opened) as connection:
        connection.execute(KEYS.delete())
        connection.execute(ACCOUNTS.delete())
        for name in ("acme", "Other"):
            row = {"id": f"acc_{name}", "name": name, "tier": "lite", "created_s": 1.5, "disabled_s": None}
            connection.execute(ACCOUNTS.insert().values(**row))
        for n, (name, created_s, used_s, expires_s) in enumerate(rows):
            row: dict[str, Any] = {
                "id": f"key_{n}",
                "account_id": ("acc_acme", "acc_Other")[n % 2],
                "name": name,
                "digest": bytes([n]) * 32,
                "last4": "0000",
                "created_s": created_s,
                "last_used_s": used_s,
                "expires_s": expires_s,
                "revoked_s": 5.0 if n % 5 == 0 else None,
            }
            connection.execute(KEYS.insert().values(**row))


def pages(opened: Database, question: PageQuestion) -> list[str]:
    """The ids on all pages, in order."""
    found: list[str] = []
    after = None
    with transaction(opened) as connection:
        while True:
            asked = PageQuestion(question.sort, question.descending, question.search, question.limit, after)
            page = keys.page(connection, asked)
            assert page.n_found == len(
                keys.page(connection, PageQuestion("name", search=question.search)).rows
            )
            found += [key.id for key, _ in page.rows]
            after = page.last
            if after is None:
                return found


times = st.sampled_from([0.1, 1.1, 2.0, 4e9])
rows = st.lists(st.tuples(st.sampled_from(NAMES), times, st.none() | times, st.none() | times), max_size=12)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows, st.sampled_from(keys.SORTED_BY), st.booleans(), st.integers(1, 5))
def test_pages_are_the_whole_list_in_its_order(
    opened: Database, rows: list[Any], sort: str, descending: bool, limit: int
) -> None:
    put(opened, rows)
    whole = pages(opened, PageQuestion(sort, descending))
    assert sorted(whole) == sorted(f"key_{n}" for n in range(len(rows)))
    assert pages(opened, PageQuestion(sort, descending, limit=limit)) == whole
    with transaction(opened) as connection:
        found = [key for key, _ in keys.page(connection, PageQuestion(sort, descending)).rows]
    if sort.endswith("_s"):
        values = [getattr(key, sort, getattr(key.terms, sort, None)) for key in found]
        known = [value for value in values if value is not None]
        assert known == sorted(known, reverse=descending)
        assert values[len(known) :] == [None] * (len(values) - len(known))


@pytest.mark.parametrize(
    ("search", "names"),
    [
        ("", {"a", "B", "b%", "b_", "<b>"}),
        ("b", {"B", "b%", "b_", "<b>"}),
        ("B", {"B", "b%", "b_", "<b>"}),
        ("%", {"b%"}),
        ("b_", {"b_"}),
        ("other", {"B", "b_"}),
        ("KEY_", {"a", "B", "b%", "b_", "<b>"}),
        ("'; DROP TABLE keys; --", set()),
    ],
)
def test_a_search_finds_parts_of_names_and_takes_nothing_for_a_pattern(
    opened: Database, search: str, names: set[str]
) -> None:
    put(opened, [(name, 1.0, None, None) for name in ("a", "B", "b%", "b_", "<b>")])
    with transaction(opened) as connection:
        found = keys.page(connection, PageQuestion("name", search=search))
    assert {key.terms.name for key, _ in found.rows} == names


def test_accounts_have_pages_too(opened: Database) -> None:
    put(opened, [])
    with transaction(opened) as connection:
        first = accounts.page(connection, PageQuestion("created_s", limit=1))
        assert first.n_found == 2
        then = accounts.page(connection, PageQuestion("created_s", limit=1, after=first.last))
        assert {each.name for each in (*first.rows, *then.rows)} == {"acme", "Other"}
        assert then.last is None
