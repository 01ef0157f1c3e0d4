"""`tessera usage`: what was used, added up, as a table or for programs."""

import csv
import importlib
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from tessera.cli.options import with_settings
from tessera.cli.rows import show
from tessera.core.usage import GroupBy
from tessera.errors import OperatorError
from tessera.operator import actions
from tessera.operator.forms import UsageQuery, read_groups
from tessera.operator.rows import COUNTED, Row
from tessera.server.migrating import changing
from tessera.settings import Settings
from tessera.wire.usage import read_day


@click.command()
@click.option("--account", metavar="NAME", help="Only this account, by name or id.")
@click.option("--key", metavar="ID", help="Only this key.")
@click.option("--since", metavar="DAY", help="First day in UTC, such as 2026-01-31.")
@click.option("--until", metavar="DAY", help="Last day in UTC, included.")
@click.option(
    "--by",
    multiple=True,
    default=["day"],
    show_default=True,
    help="Group rows by day, account, key or model, or by several of them.",
)
@click.option("--format", "form", type=click.Choice(["table", "json", "csv", "parquet"]), default="table")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.")
@with_settings("database_url")
def usage(
    settings: Settings,
    account: str | None,
    key: str | None,
    since: str | None,
    until: str | None,
    by: tuple[str, ...],
    form: str,
    as_json: bool,
    output: Path | None,
) -> None:
    """Report the number of requests and their tokens. Rejected requests are not included."""
    form = "json" if as_json else form
    if form == "table" and output:
        raise OperatorError("--output needs --format json, csv or parquet.")
    first, last = _day(since, "--since"), _day(until, "--until")
    groups = read_groups(",".join(by), "--by")
    with changing(settings) as store:
        report = actions.add_up(
            store, UsageQuery(account=account, key=key, since=first, until=last, by=",".join(by))
        )
    if form == "table":
        last_row = {**dict.fromkeys(groups, ""), groups[0]: "total", **report.totals}
        show([*report.rows, last_row] if report.rows else [], False, "No usage yet.")
        return
    written = msgspec.json.encode(report) + b"\n" if form == "json" else _WRITERS[form](groups, report.rows)
    _deliver(written, output, is_text=form != "parquet")


def _day(asked: str | None, option: str) -> str | None:
    return None if asked is None else read_day(asked, option)


def _csv(by: Sequence[GroupBy], rows: Sequence[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, [*by, *COUNTED], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _parquet(by: Sequence[GroupBy], rows: Sequence[Row]) -> bytes:
    try:
        arrow: Any = importlib.import_module("pyarrow")
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise OperatorError("Parquet needs pyarrow: pip install 'tessera-serve[parquet]'.") from error
    fields = [*((name, arrow.string()) for name in by), *((name, arrow.int64()) for name in COUNTED)]
    table = arrow.Table.from_pylist(rows, schema=arrow.schema(fields))
    file = io.BytesIO()
    parquet.write_table(table, file)
    return file.getvalue()


_WRITERS: Mapping[str, Callable[[Sequence[GroupBy], Sequence[Row]], bytes]] = {
    "csv": _csv,
    "parquet": _parquet,
}


def _deliver(written: bytes, output: Path | None, *, is_text: bool) -> None:
    if output is None:
        if not is_text and sys.stdout.isatty():
            raise OperatorError("Parquet cannot be shown on a terminal: name a file with --output.")
        click.echo(written, nl=False)
        return
    try:
        output.write_bytes(written)
    except OSError as error:
        raise OperatorError(f"{output} cannot be written: {error.strerror}.") from error
