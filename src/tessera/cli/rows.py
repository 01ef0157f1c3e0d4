"""Rows of the database on the terminal: tables for people, JSON for programs."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import click
import msgspec
from rich.console import Console
from rich.table import Table

from tessera.operator.rows import Row

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def show(rows: Sequence[Row], as_json: bool, nothing: str) -> None:
    """Print rows as a table or as a JSON list; print `nothing` to standard error if there are none."""
    if as_json:
        click.echo(msgspec.json.encode(rows))
    elif rows:
        _print_table(rows)
    else:
        click.echo(nothing, err=True)


def show_one(row: Row, as_json: bool) -> None:
    """Print one row as lines or as a JSON object."""
    if as_json:
        click.echo(msgspec.json.encode(row))
        return
    table = Table.grid(padding=(0, 2))
    for name, value in row.items():
        table.add_row(_title(name), _text(name, value))
    _console().print(table)


def _print_table(rows: Sequence[Row]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in rows[0]:
        table.add_column(_title(name), overflow="fold")
    for row in rows:
        table.add_row(*(_text(name, value) for name, value in row.items()))
    _console().print(table)


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
