"""Pages of a long list, in the order of one of its columns. A page begins after a row, not at a number: it
takes as long at the end of the list as at its beginning, and rows that come and go shift no page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, and_, func, or_

T = TypeVar("T")
Value: TypeAlias = str | float | None


@dataclass(frozen=True, slots=True)
class After:
    """The last row of the page before: what it has in the column of the order, and its id."""

    value: Value
    id: str


@dataclass(frozen=True, slots=True)
class PageQuestion:
    """Which rows are wanted: of those that contain the text `search`, at most `limit` (None: all) in the
    order of the column `sort`, after one of them.
    """

    sort: str
    descending: bool = False
    search: str = ""
    limit: int | None = None
    after: After | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows; `n_found` is how many there are on all pages, `last` the last one's place if more follow."""

    rows: list[T]
    n_found: int
    last: After | None


def read_page(
    connection: Connection,
    rows: Select[Any],
    question: PageQuestion,
    *,
    id: ColumnElement[str],
    columns: Mapping[str, ColumnElement[Any]],
    searched: tuple[ColumnElement[str], ...],
) -> Page[RowMapping]:
    """`columns` are those that the list can be sorted by, with rows that have no value last; `searched` are
    those in which the text may be.
    """
    if question.search:
        rows = rows.where(or_(*(each.icontains(question.search, autoescape=True) for each in searched)))
    column = columns[question.sort]
    ordered = rows.add_columns(column.label("sorted_by")).order_by(*_order(column, id, question.descending))
    if question.after is not None:
        ordered = ordered.where(_is_after(column, id, question.after, question.descending))
    if question.limit is None:
        found = [*connection.execute(ordered).mappings()]
        return Page(found, len(found), None)
    # One more than wanted shows whether there is another page.
    found = [*connection.execute(ordered.limit(question.limit + 1)).mappings()]
    shown = found[: question.limit]
    counted = rows.with_only_columns(func.count(), maintain_column_froms=True).order_by(None)
    n_found = connection.scalar(counted) or 0
    last = After(shown[-1]["sorted_by"], shown[-1][id.key or "id"]) if len(found) > len(shown) else None
    return Page(shown, n_found, last)


def _order(
    column: ColumnElement[Any], id: ColumnElement[str], descending: bool
) -> Sequence[ColumnElement[Any]]:
    by: Sequence[ColumnElement[Any]] = [column.desc(), id.desc()] if descending else [column.asc(), id.asc()]
    return [column.is_(None), *by] if getattr(column, "nullable", False) else by


def _is_after(
    column: ColumnElement[Any], id: ColumnElement[str], after: After, descending: bool
) -> ColumnElement[bool]:
    later_id = id < after.id if descending else id > after.id
    if after.value is None:
        return and_(column.is_(None), later_id)
    later = column < after.value if descending else column > after.value
    beyond = or_(later, and_(column == after.value, later_id))
    return or_(beyond, column.is_(None)) if getattr(column, "nullable", False) else beyond
