"""Rows of the database on the terminal: tables for people, JSON for programs."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import wraps

import click
import msgspec
from rich.console import Console
from rich.table import Table

from tessera.cli.options import with_settings
from tessera.operator.rows import Row
from tessera.server.migrating import changing
from tessera.server.storage import database_url, require_pepper
from tessera.settings import Settings
from tessera.store.database import without_passwords

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def shows_rows(
    nothing: str = "", *, writes: bool = False, checks_pepper: bool = False
) -> Callable[[Callable[..., Row | Sequence[Row]]], Callable[..., None]]:
    """Gives a command the `settings` and a transaction on their `store`, and prints what it returns. One that
    `writes` says to which store, on standard error. With `checks_pepper`, it refuses a pepper that is not
    that of the store.
    """

    def decorate(command: Callable[..., Row | Sequence[Row]]) -> Callable[..., None]:
        @AS_JSON
        @with_settings("database_url")
        @wraps(command)
        def run(*, settings: Settings, as_json: bool, **given: object) -> None:
            with changing(settings) as store:
                if checks_pepper:
                    require_pepper(settings, store)
                found = command(settings=settings, store=store, **given)
            if writes:
                name_store(settings)
            show(found, as_json, nothing)

        return run

    return decorate


def name_store(settings: Settings) -> None:
    """Says which store was written to: it may be another one than that of the service."""
    click.echo(f"Store: {without_passwords(database_url(settings))}", err=True)


def show(found: Row | Sequence[Row], as_json: bool, nothing: str = "") -> None:
    """Print a row as lines, rows as a table, or both as JSON; print `nothing` to standard error if there are
    no rows.
    """
    if as_json:
        click.echo(msgspec.json.encode(found))
    elif not found:
        click.echo(nothing, err=True)
    else:
        _console().print(_lines(found) if isinstance(found, Mapping) else _table(found))


def _lines(row: Row) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, value in row.items():
        table.add_row(_title(name), _text(name, value))
    return table


def _table(rows: Sequence[Row]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in rows[0]:
        table.add_column(_title(name), overflow="fold")
    for row in rows:
        table.add_row(*(_text(name, value) for name, value in row.items()))
    return table


def _console() -> Console:
    """As wide as the terminal; a file or a pipe gets so many columns that no cell is cut."""
    console = Console(highlight=False, markup=False, emoji=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, emoji=False, width=400)


def _title(name: str) -> str:
    return name.removesuffix("_s").replace("_", " ")


def _text(name: str, value: object) -> str:
    match value:
        case None:
            return ""
        case float() if name.endswith("_s"):
            return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%S")
        case list() | tuple():
            return ", ".join(map(str, value))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        case Mapping():
            return msgspec.json.encode(value).decode()
        case _:
            return str(value)
